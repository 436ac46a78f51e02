#!/usr/bin/env bash
# Runs scenarios of bench-harness/scenarios one after the other, each with a broker of its own, and puts
# their results into one page: results/report.html.
#
#   scripts/bench-all.sh [--scale F] [--time-scale F] [--out DIR] [--peer mosquitto] [SCENARIO...]
#   scripts/bench-all.sh --list
#
# Without names all are run, at a hundredth of their size and a tenth of their time (--scale 0.01
# --time-scale 0.1), which takes about half an hour; --scale 1 --time-scale 1 takes a day, 24 GiB and the
# limits of docs/tuning.md. --peer mosquitto runs each that mosquitto can do with it, too. What is given
# after -- goes to every run. Exit code: 0 all limits kept, 1 one was not or a run broke off, 2 wrong usage.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

HARNESS=${HARNESS:-target/release/bench-harness}
BROKER=${BROKER:-target/release/broker}
scale=0.01
time_scale=0.1
out=results
peer=
names=()
more=()
usage() {
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
        --list)
            for file in bench-harness/scenarios/*.json; do basename "$file" .json; done
            exit
            ;;
        --scale | --time-scale | --out | --peer)
            [ $# -gt 1 ] || usage
            case $1 in
                --scale) scale=$2 ;;
                --time-scale) time_scale=$2 ;;
                --out) out=$2 ;;
                --peer) peer=$2 ;;
            esac
            shift
            ;;
        --)
            shift
            more=("$@")
            break
            ;;
        -*) usage ;;
        *) names+=("$1") ;;
    esac
    shift
done
case $peer in "" | mosquitto) ;; *) usage ;; esac
if [ ${#names[@]} -eq 0 ]; then
    for file in bench-harness/scenarios/*.json; do names+=("$(basename "$file" .json)"); done
fi
for name in "${names[@]}"; do
    [ -r "bench-harness/scenarios/$name.json" ] || {
        echo "there is no scenario $name: see --list" >&2
        exit 2
    }
done
if [ ! -x "$HARNESS" ] || [ ! -x "$BROKER" ]; then
    cargo build --release --workspace --bins --locked --quiet || exit 1
fi
ulimit -n "$(ulimit -Hn)"

failed=()
results=()
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run NAME OPTION...: one scenario; its result is remembered.
run() {
    local name=$1 result
    shift
    echo "== $name"
    "$HARNESS" run "bench-harness/scenarios/$name.json" --scale "$scale" --time-scale "$time_scale" \
        --out "$out" "$@" ${more[@]+"${more[@]}"} >"$work/log" 2>"$work/err" || failed+=("$name")
    grep -E '^ +(ok|FAILED|VOID)' "$work/log"
    result=$(sed -n 's/^ *written to //p' "$work/log" | tail -n 1)
    if [ -n "$result" ]; then results+=("$result"); else tail -n 5 "$work/err"; fi
}

for name in "${names[@]}"; do
    run "$name" --broker "$BROKER"
    if [ -n "$peer" ]; then
        printf 'listener 21883 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\nmax_inflight_messages 1000\n' >"$work/conf"
        PATH=$PATH:/usr/sbin mosquitto -c "$work/conf" >"$work/mosquitto" 2>&1 &
        pid=$!
        sleep 1
        case $name in
            # It has no budget for memory, and a new one for each size cannot be started.
            queues-* | growth) ;;
            *) run "$name" --target 127.0.0.1:21883 --broker-pid "$pid" --broker-name mosquitto --name "$name-mosquitto" ;;
        esac
        kill "$pid" && wait "$pid"
    fi
done
if [ ${#results[@]} -gt 0 ]; then
    "$HARNESS" report "${results[@]}" --out "$out/report.html"
fi
[ ${#failed[@]} -eq 0 ] || {
    echo "not as wanted: ${failed[*]}"
    exit 1
}
