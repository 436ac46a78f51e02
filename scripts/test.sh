#!/usr/bin/env bash
# shellcheck disable=SC2317 # the parts are called by name
#
# Installs what the tests need, runs all of them, and prints the time of each part. The last line is
# `N passed, M failed`, counted in parts; the exit code is 1 if one failed.
#
#   scripts/test.sh               all parts
#   scripts/test.sh unit clients  these parts only
#   scripts/test.sh --list        their names

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

tools() {
    install_crates
    install_clients
}

format() {
    cargo fmt --all --check
}

lint() {
    cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
}

# The simulation has a part of its own.
unit() {
    cargo test --workspace --lib --bins --locked -- --skip sim::
    cargo test --workspace --doc --locked
}

simulation() {
    cargo test --lib --locked -- sim::
}

# Their crates are built apart, with --cfg loom.
models() {
    export RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom
    cargo test --profile models --lib --locked -- loom_
}

documentation() {
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" \
        cargo doc --workspace --no-deps --document-private-items --locked --quiet
}

# The harness finds planted faults, by tests of its own.
harness() {
    cargo test --package bench-harness --test '*' --locked
}

black_box() {
    need promtool prometheus || true
    cargo test --test allocations --locked
    cargo test --test black_box --locked -- --test-threads=4
}

# Without the Paho suites, which are in no registry: see conformance.sh.
conformance() {
    cargo test --test conformance --locked -- --test-threads=8
}

clients() {
    cargo test --test real_clients --locked -- --include-ignored --test-threads=4
}

# Databases that are asked, proxies in front, a browser, the Autobahn suite. Databases must be there; what
# else cannot be installed is named.
servers() {
    install_servers
    cargo test --test servers --locked -- --include-ignored --skip in_all_of_compression --nocapture \
        --test-threads=2 |
        tee "$LOGS/servers.out"
    sed -n 's/^SKIPPED /NOTE: skipped: /p' "$LOGS/servers.out"
}

# A load that is small and judged message by message. The program is not optimised: with LTO it takes ten
# minutes to build from nothing (see test-long.sh, which tests that one).
load() {
    cargo build --workspace --locked --quiet
    export BROKER=target/debug/broker
    for cores in 2 8; do
        with_broker "$cores" small_load
    done
    # The budgets for connections and for queued messages, each with a broker of its own.
    for scenario in memory-small queues-small; do
        target/debug/bench-harness run "bench-harness/scenarios/$scenario.json" --broker "$BROKER" \
            --no-results --quiet
    done
    echo "NOTE: a small load was judged without fault"
}

small_load() {
    local harness="target/debug/bench-harness"
    local common="--target $ADDRESS --broker-pid $BROKER_PID --no-results --quiet"
    for qos in 0 1 2; do
        # shellcheck disable=SC2086
        $harness pubsub $common -p 10 -s 10 -q "$qos" -m 5000 -w 50 \
            --expect-loss 0 --expect-duplicates 0
    done
    # shellcheck disable=SC2086
    $harness connect $common -n 2000 --rate 1000 --hold 1 --settle 0.5 \
        --max-failed-connects 0 --max-disconnects 0
}

# The web page: types, unit tests, whether the built files are fresh, and the page in a browser.
dashboard() {
    need node nodejs npm
    need chromium chromium fonts-dejavu-core
    scripts/dashboard.sh check
    cargo build --bin broker --locked --quiet
    node bench-harness/tests/dashboard/browser.mjs "$(scripts/dashboard.sh dir)" target/debug/broker
}

# The HTTP API as its document says it, as each role and as nobody, with made-up requests.
api() {
    cargo build --workspace --bins --locked --quiet
    install_api_tools
    BROKER=target/debug/broker HARNESS=target/debug/bench-harness scripts/check-api.sh
}

# A tarball, of a program that is not optimised, unpacked, installed below a folder and looked at.
packaging() {
    need man man-db || true
    need mandoc mandoc || true
    cargo build --bin broker --locked --quiet
    rm -rf "$TOOLS/dist"
    BROKER=target/debug/broker scripts/packaging/make-dist.sh "$TOOLS/dist"
    scripts/packaging/check.sh "$TOOLS"/dist/*.tar.gz
}

# What the cores allocate for a message, in a build that counts it.
allocations() {
    scripts/allocations.sh
}

# Work counted, never time: matching, crossing, waking, slow consumers.
speed() {
    scripts/speed.sh
}

export -f speed allocations dashboard api packaging tools format lint unit simulation models documentation harness black_box conformance clients servers load small_load

# name, seconds at most, function
PARTS=(
    "tools 600 tools"
    "format 60 format"
    "lint 900 lint"
    "unit 900 unit"
    "simulation 600 simulation"
    "black-box 600 black_box"
    "conformance 600 conformance"
    "clients 600 clients"
    "servers 1500 servers"
    "dashboard 600 dashboard"
    "harness 600 harness"
    "docs 300 documentation"
    "models 900 models"
    "load 900 load"
    "api 900 api"
    "packaging 900 packaging"
    "allocations 600 allocations"
    "speed 600 speed"
    "deny 1200 deny"
)

run_parts "$@"
