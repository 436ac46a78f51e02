#!/usr/bin/env bash
# shellcheck disable=SC2317 # the parts are called by name
#
# What takes too long for every change: many seeds, a million messages, many connections, a soak, and the
# same loads against a peer. Measurements go to results/. The last line is `N passed, M failed`.
#
#   scripts/test-long.sh            all parts, about two hours on two CPUs
#   scripts/test-long.sh soak       these parts only
#   scripts/test-long.sh --list     their names
#
# SOAK_SECONDS (1800), SIM_SEEDS (2000), MATRIX_SEEDS (10000), FUZZ_SECONDS (3600), FUZZ_TARGETS (all) and
# CONNECTIONS (200000) may be set.

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

export SOAK_SECONDS=${SOAK_SECONDS:-1800}
export SIM_SEEDS=${SIM_SEEDS:-2000}
export FUZZ_SECONDS=${FUZZ_SECONDS:-3600}
export CONNECTIONS=${CONNECTIONS:-200000}

release() {
    cargo build --release --workspace --locked --quiet
}

# Seeds that no run before had: they begin at the second of the start. A failure names its seed.
simulation() {
    MILLRACE_SIM_SEEDS=$SIM_SEEDS MILLRACE_SIM_FIRST=$(date +%s) simulated simulation-plans sim::
}

# simulated SCENARIO TEST...: the tests of those names, and a result of them. They are built before.
simulated() {
    local scenario=$1
    shift
    cargo test --release --lib --locked --no-run
    scripts/record_run.py simulation "$scenario" "$LOGS/$scenario.log" \
        cargo test --release --lib --locked -- "$@" --nocapture --test-threads=1 || {
        tail -n 60 "$LOGS/$scenario.log"
        return 1
    }
}

properties() {
    PROPTEST_CASES=20000 cargo test --release --lib --locked -- --skip sim:: --skip tidy::
}

miri() {
    if ! cargo +nightly miri --version >/dev/null 2>&1; then
        echo "NOTE: Miri was not run: there is no nightly toolchain with it (rustup +nightly component add miri rust-src)"
        return
    fi
    MIRIFLAGS="-Zmiri-disable-isolation" CARGO_TARGET_DIR=target/miri cargo +nightly miri test --lib -- base:: routing::
}

# 100 restarts under connect load, and what depends on timing several times over.
black_box() {
    MILLRACE_RESTARTS=100 cargo test --test black_box --locked -- --nocapture restarts_under_connect_load
    cargo test --test black_box --locked -- --nocapture --ignored many_connections
    for _ in 1 2 3 4 5; do
        cargo test --test black_box --locked -- --test-threads=6
    done
}

harness() {
    target/release/bench-harness "$@" --target "$ADDRESS" --broker-pid "$BROKER_PID" --quiet
}

faultless="--expect-loss 0 --expect-duplicates 0 --expect-order-errors 0 --expect-corrupt 0 --expect-other-faults 0"
export faultless

# The publishers' windows together stay below each subscriber's max_mqueue_len. The second run of each
# goes through filters with wildcards that overlap, while others subscribe and unsubscribe.
million() {
    for cores in 2 8; do
        for qos in 0 1 2; do
            with_broker "$cores" harness pubsub -p 10 -s 10 -m 1000000 -w 90 -q "$qos" "$faultless" \
                --scenario "pairs-qos$qos-$cores-cores"
            with_broker "$cores" harness pubsub -p 10 -s 10 -m 1000000 -w 20 -q "$qos" "$faultless" \
                --topology wildcard --churn 500 --scenario "wildcard-churn-qos$qos-$cores-cores"
        done
    done
}

# More than the queues hold: what the harness misses is what the broker counted as dropped.
overload() {
    for qos in 0 1; do
        with_broker 2 lossy_load "$qos"
    done
}

lossy_load() {
    harness pubsub -p 4 -s 10 --rate 500 -d 10 --size 2000 -q "$1" --topology fan-out \
        --pause-subscribers 6 --expect-loss-from scripts/dropped.sh --expect-duplicates 0 \
        --scenario "overload-qos$1" | tee "$LOGS/overload-qos$1"
    # A run that loses nothing says nothing.
    grep -Eq '^ +lost +[1-9]' "$LOGS/overload-qos$1"
}

connections() {
    with_broker 2 harness connect -n 18000 --rate 1000 --hold 20 --settle 5 --scenario connections-18000 \
        --max-failed-connects 0 --max-disconnects 0 --max-idle-cpu-percent 0.5 \
        --max-user-bytes-per-connection 600
    with_broker 2 harness connect -n 18000 --rate 1000 --hold 10 --settle 5 --subscribe-own \
        --scenario connections-18000-subscribed --max-failed-connects 0 --max-disconnects 0 \
        --max-user-bytes-per-connection 600
    with_broker 12 harness connect -n "$CONNECTIONS" --rate 5000 --hold 20 --settle 10 \
        --scenario "connections-$CONNECTIONS" --max-failed-connects 0 --max-disconnects 0 \
        --max-user-bytes-per-connection 600
}

# What walking the list of clients, scraping and a dashboard cost a load beside so many clients.
manage() {
    scripts/manage-load.sh "$CONNECTIONS" 12
}

soak() {
    with_broker 2 harness pubsub -p 20 -s 20 -q 1 --rate 200 -d "$SOAK_SECONDS" --churn 20 \
        --topology wildcard "$faultless" --scenario soak
}

# All of FUZZ_TARGETS at once, FUZZ_SECONDS each; a result a target.
fuzz() {
    can_fuzz || return 0
    build_fuzz
    local pids=() failed=0 target
    for target in $FUZZ_TARGETS; do
        fuzz_target "$target" "$FUZZ_SECONDS" &
        pids+=("$!")
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || failed=1
    done
    return "$failed"
}

# A hundred thousand retained messages: what a look-up costs, whether `#` gets all of them, what a
# stream notices.
retained() {
    with_broker 2 harness retained --scenario retained --max-leaf-ratio 1.5 --max-stream-ratio 2
}

# Ten million sessions in one process with in-memory transports: what each takes, by table.
ten_million() {
    local sessions=${SESSIONS:-10000000}
    MILLRACE_SESSIONS=$sessions cargo test --profile "${SIM_PROFILE:-release}" --lib --locked -- --ignored --nocapture \
        shard::tests::many::ten_million >"$LOGS/ten-million.out"
    # shellcheck disable=SC2046
    scripts/record.py "sessions-$sessions-simulated" "SESSIONS=$sessions SIM_PROFILE=${SIM_PROFILE:-release} scripts/test-long.sh ten-million" \
        $(grep -E '^(sessions|idle_|subscribed_)[a-z_]*=[0-9.]+$' "$LOGS/ten-million.out" | sort -u) \
        'idle_tables_bytes_a_session<=256' 'subscribed_tables_bytes_a_session<=512'
}

# Seeds of the matrices: wills, shared groups, what comes again.
matrices() {
    MILLRACE_SIM_SEEDS=${MATRIX_SEEDS:-10000} simulated simulation-matrices in_every_combination what_comes_again
}

# The same small loads against mosquitto, whose results stand beside ours.
peers() {
    need mosquitto mosquitto
    local dir
    dir=$(mktemp -d)
    printf 'listener 21883 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n' >"$dir/conf"
    mosquitto -c "$dir/conf" >"$dir/log" 2>&1 &
    local mosquitto=$!
    sleep 1
    local peer="--target 127.0.0.1:21883 --broker-pid $mosquitto --broker-name mosquitto --quiet"
    local status=0
    for qos in 0 1 2; do
        with_broker 2 harness pubsub -p 10 -s 10 -m 50000 -w 50 -q "$qos" --scenario "peer-millrace-qos$qos" || status=1
        # shellcheck disable=SC2086
        target/release/bench-harness pubsub $peer -p 10 -s 10 -m 50000 -w 50 -q "$qos" \
            --scenario "peer-mosquitto-qos$qos" || status=1
    done
    kill "$mosquitto"
    wait "$mosquitto" || true
    rm -rf "$dir"
    return "$status"
}

# What TLS costs, beside mosquitto (and FlashMQ, if FLASHMQ names its program).
tls() {
    need mosquitto mosquitto
    scripts/tls.sh "${TLS_CONNECTIONS:-10000}"
}

# What connected clients notice while others are refused.
refusals() {
    scripts/refusals.sh
}

# What sslyze and testssl.sh say of a TLS listener.
tls_scan() {
    [ -e "$TOOLS/sslyze/$SSLYZE_VERSION" ] || {
        python3 -m venv --clear "$TOOLS/sslyze"
        "$TOOLS/sslyze/bin/pip" install --quiet --disable-pip-version-check "sslyze==$SSLYZE_VERSION"
        touch "$TOOLS/sslyze/$SSLYZE_VERSION"
    }
    command -v testssl.sh >/dev/null || need testssl testssl.sh
    SSLYZE=$TOOLS/sslyze/bin/sslyze scripts/tls-scan.sh
}

# All cases of WebSocket compression; the other ones are in test.sh.
autobahn() {
    install_servers
    cargo test --test servers --locked -- --ignored in_all_of_compression --nocapture
}

export -f autobahn tls tls_scan refusals release simulation properties miri black_box harness million overload lossy_load \
    simulated connections manage soak peers fuzz retained matrices ten_million

# name, seconds at most, function
PARTS=(
    "crates 600 install_crates"
    "release 1200 release"
    "simulation 3600 simulation"
    "properties 1800 properties"
    "miri 3600 miri"
    "black-box 2400 black_box"
    "million 3600 million"
    "overload 600 overload"
    "connections 1200 connections"
    "manage 1800 manage"
    "retained 900 retained"
    "matrices 1800 matrices"
    "ten-million 3600 ten_million"
    "fuzz $((FUZZ_SECONDS + 1800)) fuzz"
    "soak $((SOAK_SECONDS + 300)) soak"
    "peers 1200 peers"
    "tls 3600 tls"
    "tls-scan 1800 tls_scan"
    "autobahn 900 autobahn"
    "refusals 2400 refusals"
)

run_parts "$@"
