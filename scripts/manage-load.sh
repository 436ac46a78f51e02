#!/usr/bin/env bash
# What operators cost: many clients are connected, a QoS 0 load runs, and its p99 is compared while nothing
# else happens, while all pages of the list of clients are walked, while /api/v5/prometheus/stats is scraped
# every second, and while a dashboard is open. bench-harness writes results/SCENARIO/*.json with a verdict
# on each ratio (at most 1.3); the exit code is 1 if one fails.
#
#   scripts/manage-load.sh [CLIENTS [CORES [OPTION of `bench-harness manage`...]]]
#
# A process here holds 20,000 descriptors, and so many connections has each core: CORES must be enough.
# 200,000 clients want 12 cores, 6 GiB and about 12 minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CLIENTS=${1:-200000}
CORES=${2:-12}
shift "$(($# < 2 ? $# : 2))"
RATE=${RATE:-4000}
RATIO_MAX=${RATIO_MAX:-1.3}
SCENARIO=${SCENARIO:-manage-$((CLIENTS / 1000))k}
HOLD_SECONDS=3600
BROKER=${BROKER:-target/release/broker}
HARNESS=${HARNESS:-target/release/bench-harness}

if [ ! -x "$BROKER" ] || [ ! -x "$HARNESS" ]; then
    cargo build --release --workspace --bins
fi
ulimit -n "$(ulimit -Hn)"

work=$(mktemp -d)
broker=''
clients=''
# shellcheck disable=SC2317 # called by the trap
end() {
    local pid
    for pid in $clients $broker; do
        if kill "$pid" 2>/dev/null; then
            wait "$pid" 2>/dev/null || true
        fi
    done
    rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT TERM

"$BROKER" --cores "$CORES" --listen tcp://127.0.0.1:0 --data-dir "$work/data" \
    --set http.listen=127.0.0.1:0 >"$work/out" 2>"$work/err" &
broker=$!
if ! timeout 60 bash -c "until grep -qx ready '$work/out'; do sleep 0.05; done"; then
    cat "$work/err" >&2
    exit 1
fi
target=$(awk '$1 == "listening" && $2 ~ /^tcp:/ { print $3; exit }' "$work/out")
api=$(awk '$1 == "listening" && $2 == "http" { print $3; exit }' "$work/out")
key=$("$BROKER" ctl --data-dir "$work/data" --json api_keys add manage-load viewer |
    sed -n 's/.*"api_key":"\([^"]*\)","api_secret":"\([^"]*\)".*/\1:\2/p')
live() {
    curl -s -u "$key" "http://$api/api/v5/monitor_current" |
        sed -n 's/.*"live_connections":\([0-9]*\).*/\1/p'
}

"$HARNESS" connect --target "$target" --broker-pid "$broker" --connections "$CLIENTS" --rate "$RATE" \
    --keep-alive 300 --hold "$HOLD_SECONDS" --no-results --quiet --lag-limit-ms 60000 >"$work/clients" 2>&1 &
clients=$!
deadline=$((SECONDS + 120 + CLIENTS * 3 / RATE))
until [ "$(live)" = "$CLIENTS" ]; do
    if ! kill -0 "$clients" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
        echo "only $(live) of $CLIENTS clients are connected" >&2
        tail -n 20 "$work/clients" >&2
        exit 1
    fi
    sleep 0.5
done

status=0
"$HARNESS" manage --target "$target" --broker-pid "$broker" --broker-name millrace \
    --broker-version "$("$BROKER" --version)" --broker-settings "node.cores=$CORES" --api "$api" \
    --api-key "$key" --source-net 101 --min-clients "$CLIENTS" --max-ratio "$RATIO_MAX" \
    --scenario "$SCENARIO" "$@" || status=$?
exit "$status"
