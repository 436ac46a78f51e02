#!/usr/bin/env bash
# What a message costs, counted and not timed, so that it says the same on every machine: how many probes
# a match takes among a million wildcard subscriptions, how often messages cross cores, wake them and enter
# the kernel, and what becomes of the others when a subscriber stops reading.
#
#   scripts/speed.sh            exit code 1 if a count is beyond its limit

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
set -e

HARNESS=target/debug/bench-harness
MESSAGES=20000 # in all, of ten publishers

# gauge NAME: a counter of the broker.
gauge() {
    scripts/report.sh | grep -o "\"$1\":[0-9]*" | cut -d: -f2
}

# at_most WHAT VALUE LIMIT
at_most() {
    awk -v what="$1" -v value="$2" -v limit="$3" 'BEGIN {
        ok = value <= limit
        printf "NOTE: %-52s %10.3f (at most %s)%s\n", what, value, limit, ok ? "" : " TOO MUCH"
        exit !ok }'
}

# A message with one subscriber crosses once at most, and not at all on one core; what leaves in one turn
# wakes a core once and enters the kernel once.
crossing() {
    local qos=$1 each
    $HARNESS pubsub --target "$ADDRESS" --no-results --quiet -p 10 -s 10 -m $((MESSAGES / 10)) -w 50 -q "$qos" \
        --expect-loss 0 --expect-duplicates 0 --expect-order-errors 0 >/dev/null
    sleep 0.6 # the figures are written twice a second, by a core that is awake
    scripts/report.sh >/dev/null
    for each in "mesh.records $(($CORES > 1))" "mesh.wakes 0.4" "ring.sends 0.5" "ring.enters 1.5" "mesh.full 0"; do
        # Twenty connections come home, some of them by another core.
        at_most "$CORES cores, QoS $qos: ${each% *} a message" \
            "$(awk -v n="$(gauge "${each% *}")" -v m=$MESSAGES 'BEGIN {print (n > 40 ? n - 40 : 0) / m}')" "${each#* }"
    done
}

# Two subscribers stop reading under a flood. The others get everything, memory stays bounded, and each
# message for the two is sent, waits within the limit, or is counted as dropped.
slow() {
    local qos=$1 waiting=$2 dropped=$3 before after kept
    before=$(gauge anonymous_bytes)
    $HARNESS pubsub --target "$ADDRESS" --no-results --quiet -p 2 -s 2 --slow-subscribers 2 -m 6000 --size 2048 \
        -w 20 -q "$qos" --expect-loss 0 --expect-duplicates 0 --expect-order-errors 0 >/dev/null
    after=$(gauge anonymous_bytes)
    at_most "slow consumers, QoS $qos: memory grows by MiB" $(((after - before) >> 20)) 16
    kept=$(($(gauge messages.delivered) - $(gauge "messages.qos$qos.sent") - $(gauge "$dropped")))
    at_most "slow consumers, QoS $qos: neither sent nor dropped" "$kept" "$waiting"
    at_most "slow consumers, QoS $qos: dropped more than there were" $((-kept)) 0
    at_most "slow consumers, QoS $qos: none was dropped" "$(($(gauge "$dropped") == 0))" 0
}

export -f gauge at_most crossing slow
export HARNESS MESSAGES CORES
cargo test --lib --locked --quiet -- --ignored routing::tests::work
cargo build --workspace --locked --quiet
export BROKER=target/debug/broker
for CORES in 1 2 4 8; do
    with_broker "$CORES" crossing 0
    with_broker "$CORES" crossing 1
done
export BROKER_ARGUMENTS="--set mqtt.max_out_queue=256KB --set mqtt.max_mqueue_len=500"
with_broker 2 slow 0 0 delivery.dropped.out_queue_full
with_broker 2 slow 1 1000 delivery.dropped.queue_full
