#!/usr/bin/env bash
# Where the broker's CPU goes in a row of compare-peers.sh: a flame graph and the costliest functions.
#
#   scripts/flamegraph.sh [ROW...]        (default: ten-qos0 ten-qos1)
#
# Writes results/flamegraph/<row>-<date>-<commit>.svg and .txt. Needs perf (Debian: linux-perf) and
# root; samples by the CPU clock, so that it works without hardware counters.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v perf >/dev/null || { echo "perf is missing: apt-get install linux-perf" >&2; exit 2; }

SECONDS_MEASURED=${SECONDS_MEASURED:-5}
PORT=${PORT:-1930}
program=target/release/broker
[ -n "${SKIP_BUILD:-}" ] || cargo build --release --locked --quiet --workspace

out=results/flamegraph
mkdir -p "$out"
work=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker" 2>/dev/null || true; rm -rf "$work"' EXIT

[ $# -gt 0 ] || set -- ten-qos0 ten-qos1
for name in "$@"; do
    read -ra load < <(python3 scripts/flamegraph.py --arguments-of "$name")
    "$program" --cores 2 --listen "tcp://127.0.0.1:$PORT" --data-dir "$work/$name" \
        --set mqtt.max_inflight=1000 --set mqtt.max_awaiting_rel=1000 \
        --set mqtt.max_mqueue_len=100000 --set mqtt.max_out_queue=64MB >"$work/$name.out" 2>&1 &
    broker=$!
    for _ in $(seq 100); do grep -q '^ready' "$work/$name.out" && break; sleep 0.1; done
    target/release/bench-harness pubsub "${load[@]}" --target "127.0.0.1:$PORT" --quiet \
        --broker-pid "$broker" --no-results --duration $((SECONDS_MEASURED + 2)) >"$work/$name.load" &
    harness=$!
    sleep 1
    perf record -e cpu-clock -F 999 --call-graph dwarf,8192 -o "$work/perf.data" -p "$broker" -- \
        sleep "$SECONDS_MEASURED" >"$work/perf.log" 2>&1
    wait "$harness"
    kill "$broker"
    wait "$broker" || true
    broker=
    base=$out/$name-$(date -u +%Y-%m-%dT%H%M%SZ)-$(git rev-parse --short HEAD)
    {
        echo "bench-harness pubsub ${load[*]}"
        grep -E 'deliveries_per_second|cpu_us_per_delivery|  lost' "$work/$name.load"
        perf script -i "$work/perf.data" --no-inline -F comm,ip,sym,dso 2>/dev/null |
            python3 scripts/flamegraph.py --title "$name" --svg "$base.svg"
    } | tee "$base.txt"
done
