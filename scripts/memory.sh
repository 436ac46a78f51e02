#!/usr/bin/env bash
# What the broker's memory costs, against the limits of the design: the idle broker, a connection,
# and a connection with one subscription of its own. 18,000 connections, so that it runs wherever
# 20,000 descriptors are allowed. Ends within 90 s with 0, or with 1 when a limit is exceeded.
#
#   scripts/memory.sh [CONNECTIONS [CORES]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CONNECTIONS=${1:-18000}
CORES=${2:-2}
IDLE_BYTES_MAX=$((48 * 1024 * 1024))
CONNECTION_BYTES_MAX=256
SUBSCRIBED_BYTES_MAX=512
# What a burst left behind goes within ten seconds, and the next sleep of a core is as long.
SETTLE_SECONDS=12
RATE=3000
RUN_SECONDS_MAX=40
BROKER=${BROKER:-target/release/broker}
HARNESS=${HARNESS:-target/release/bench-harness}

if [ ! -x "$BROKER" ] || [ ! -x "$HARNESS" ]; then
    cargo build --release --workspace --bins
fi
ulimit -n "$(ulimit -Hn)"

work=$(mktemp -d)
broker=
end() {
    [ -n "$broker" ] && kill "$broker" 2>/dev/null && wait "$broker"
    rm -rf "$work"
}
trap end EXIT

# measure NAME BYTES_MAX [OPTION...]: one broker, one ramp; the harness gives the verdicts.
measure() {
    local name=$1 bytes_max=$2 target
    shift 2
    "$BROKER" --cores "$CORES" --listen tcp://127.0.0.1:0 --data-dir "$work/$name" \
        >"$work/$name.out" 2>"$work/$name.err" &
    broker=$!
    if ! timeout 20 bash -c "until grep -qx ready '$work/$name.out'; do sleep 0.05; done"; then
        cat "$work/$name.err" >&2
        return 1
    fi
    target=$(awk '/^listening/ { print $3; exit }' "$work/$name.out")
    echo "== $name"
    timeout --kill-after=5 "$RUN_SECONDS_MAX" "$HARNESS" connect --target "$target" \
        --connections "$CONNECTIONS" --rate "$RATE" --settle "$SETTLE_SECONDS" --hold 0 \
        --broker-pid "$broker" --no-results --quiet --lag-limit-ms 60000 \
        --max-failed-connects 0 --max-idle-user-bytes "$IDLE_BYTES_MAX" \
        --max-user-bytes-per-connection "$bytes_max" "$@" || failed=1
    kill "$broker"
    wait "$broker" || failed=1
    broker=
}

failed=0
measure plain "$CONNECTION_BYTES_MAX" || failed=1
measure subscribed "$SUBSCRIBED_BYTES_MAX" --subscribe-own || failed=1
exit "$failed"
