#!/usr/bin/env bash
# Runs the Eclipse Paho interoperability tests for MQTT 3.1.1 and 5.0 against a broker that it starts
# with the settings they expect, and prints a line for each suite. The exit code is 1 if a test failed.
#
#   scripts/conformance.sh PATH    PATH is a checkout of paho.mqtt.testing, which stays as it is
#
# BROKER names the program to test; without it that is the release build. VERBOSE=1 shows what failed.

set -eu
if [ $# -ne 1 ] || [ ! -f "$1/interoperability/client_test5.py" ]; then
    echo "usage: $0 PATH, a checkout of https://github.com/eclipse/paho.mqtt.testing" >&2
    exit 2
fi
suites=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
if [ -z "${BROKER:-}" ]; then
    cargo build --release --locked --quiet --bin broker
    BROKER=target/release/broker
fi

# What the suites expect: a Receive Maximum of 20 and a keep-alive of 60 s from the server, and that
# nobody may subscribe to `test/nosubscribe`, which is told by 0x80 alone.
SETTINGS=(--set mqtt.max_awaiting_rel=20 --set mqtt.server_keepalive=60s
    --set authorization.deny_reason=false)
ACL='{deny, all, subscribe, ["test/nosubscribe"]}.'
# A thread that is bound to a CPU waits behind whatever else runs there, for longer than the suites do.
MACHINE=(--cores 2 --set node.pin_cores=false)
# A suite takes about a minute and a half.
SECONDS_MAX=600
READY_SECONDS_MAX=30

scratch=$(mktemp -d)
broker=
# shellcheck disable=SC2317 # called by the trap
end() {
    [ -z "$broker" ] || kill -KILL "$broker" 2>/dev/null || true
    rm -rf "$scratch"
}
trap end EXIT
trap 'exit 130' INT TERM

start_broker() {
    : >"$scratch/out"
    echo "$ACL" >"$scratch/acl.conf"
    "$BROKER" "${MACHINE[@]}" --listen tcp://127.0.0.1:0 --set http.listen=off \
        --data-dir "$scratch/data" "${SETTINGS[@]}" \
        --set "authorization.sources.file.path=$scratch/acl.conf" \
        >"$scratch/out" 2>"$scratch/err" &
    broker=$!
    local deadline=$((SECONDS + READY_SECONDS_MAX))
    until grep -q '^ready' "$scratch/out"; do
        if ! kill -0 "$broker" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
            cat "$scratch/err" >&2
            exit 1
        fi
        sleep 0.05
    done
    port=$(awk '$1 == "listening" {sub(/.*:/, "", $3); print $3; exit}' "$scratch/out")
}

# The suites' options for host and port do not work together with unittest's; this puts the port in
# place of the default one and runs the text as the program it is.
RUN='
import sys
program, put, *tests = sys.argv[1:]
sys.argv = [program, *tests]
sys.path.insert(0, "")
text = open(program).read()
default = "  port = 1883\n"
assert text.count(default) == 1, "the suite has changed: its default port is elsewhere"
exec(compile(text.replace(default, f"  port = {put}\n"), program, "exec"), globals())
'

stop_broker() {
    local status=0
    kill -TERM "$broker"
    wait "$broker" || status=$?
    broker=
    rm -rf "$scratch/data"
    if [ "$status" -ne 0 ]; then
        echo "the broker did not end in order (exit code $status):"
        cat "$scratch/err"
    fi
    return "$status"
}

# attempt PROGRAM [Test.NAME...]: runs these tests, or all; sets `ran` and the names in `failed`. A suite
# that does not run at all, because its first CONNECT had no answer in time, is begun again.
attempt() {
    local tries
    for tries in 1 2 3; do
        run_tests "$@" && return
        [ "${ran:-0}" -eq 0 ] || return 1
    done
    echo "begun $tries times"
    return 1
}

run_tests() {
    local status=0
    log=$scratch/$1.log
    (cd "$suites/interoperability" && PYTHONDONTWRITEBYTECODE=1 \
        timeout --kill-after=10 "$SECONDS_MAX" python3 -c "$RUN" "$1" "$port" "${@:2}") \
        </dev/null >"$log" 2>&1 || status=$?
    ran=$(awk '$1 == "Ran" && $3 ~ /^test/ {print $2}' "$log")
    mapfile -t failed < <(sed -nE 's/^(FAIL|ERROR): (test[A-Za-z0-9_]+) .*/Test.\2/p' "$log" | sort -u)
    # Whatever is not a test that failed means that the suite did not run.
    [ "${ran:-0}" -gt 0 ] && [ "$((status != 0))" -eq "$((${#failed[@]} > 0))" ]
}

# suite VERSION PROGRAM: runs it, prints its line, and fails if one of its tests did. The suites wait
# half a second for an answer and a few for a message, which a busy machine may not keep: what failed
# is given a second chance.
suite() {
    local name="MQTT $1 $2" all late=0 line
    if ! attempt "$2"; then
        echo "$name: did not run; the end of its output:"
        tail -n 20 "$log"
        return 1
    fi
    all=$ran
    if [ "${#failed[@]}" -gt 0 ]; then
        late=${#failed[@]}
        if ! attempt "$2" "${failed[@]}"; then
            echo "$name: did not run a second time; the end of its output:"
            tail -n 20 "$log"
            return 1
        fi
        late=$((late - ${#failed[@]}))
    fi
    line="$name: $((all - ${#failed[@]})) of $all passed"
    [ "$late" -eq 0 ] || line="$line, $late of them at the second attempt"
    [ "${#failed[@]}" -eq 0 ] || line="$line; failed: ${failed[*]#Test.}"
    echo "$line"
    if [ "${#failed[@]}" -gt 0 ] && [ -n "${VERBOSE:-}" ]; then
        sed -n '/^=====/,$p' "$log"
    fi
    [ "${#failed[@]}" -eq 0 ]
}

# Each suite has a broker of its own, so that it finds no sessions of the other.
echo "paho.mqtt.testing $(git -C "$suites" rev-parse HEAD), broker with ${SETTINGS[*]}, rules $ACL"
failures=0
for each in "3.1.1 client_test.py" "5.0 client_test5.py"; do
    start_broker
    # shellcheck disable=SC2086 # two words
    suite $each || failures=1
    stop_broker || failures=1
done
exit "$failures"
