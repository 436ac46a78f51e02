#!/usr/bin/env bash
# Counts the allocations that the cores make for a message in the steady state, in the real binary over
# sockets: two loads that differ in nothing but their number of messages, and the difference of what the
# cores allocated. Publishers and subscribers are on different cores as their ids' hashes fall.
#
#   scripts/allocations.sh            exit code 1 if a load allocates more than it may
#
# QoS 0 may allocate nothing, unless the message is large: then its block and a core's share of it. QoS 1
# and 2 keep the message until it is acknowledged: one buffer, shared by its subscribers on a core. Beside
# that SLACK (0.05) is allowed: buffers that a burst has made larger are
# given back now and then.

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

SLACK=${SLACK:-0.05}
export FEW=10000 MANY=50000

measure() {
    local few many limit
    for load in "0 -q 0" "0 -q 0 --version 5" "1 -q 1" "1 -q 2" "1 -q 1 --topology wildcard" "2 -q 0 --size 4096"; do
        limit=${load%% *} load=${load#* }
        allocated "$FEW" "$load" >/dev/null # warm
        few=$(allocated "$FEW" "$load")
        many=$(allocated "$MANY" "$load")
        awk -v few="$few" -v many="$many" -v m="$((10 * (MANY - FEW)))" -v kind="$load" -v limit="$limit" -v slack="$SLACK" '
            BEGIN { each = (many - few) / m
                    printf "NOTE: %-26s %8.4f allocations a message (limit %s)\n", kind, each, limit
                    exit !(each <= limit + slack) }'
    done
}

# allocated MESSAGES LOAD: runs a load of so many messages a publisher; prints what was allocated meanwhile.
allocated() {
    local before
    before=$(gauge memory.allocations)
    # shellcheck disable=SC2086
    target/debug/bench-harness pubsub --target "$ADDRESS" --no-results --quiet -p 10 -s 10 -m "$1" -w 50 $2 >/dev/null
    sleep 0.6 # the figures are written twice a second, by a core that is awake
    scripts/report.sh >/dev/null
    echo $(($(gauge memory.allocations) - before))
}

gauge() {
    scripts/report.sh | grep -o "\"$1\":[0-9]*" | cut -d: -f2
}

export -f measure allocated gauge
export SLACK
cargo build --workspace --locked --quiet --features count-allocations
export BROKER=target/debug/broker
with_broker 2 measure
