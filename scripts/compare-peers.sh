#!/usr/bin/env bash
# Millrace and other brokers side by side: the same machine, the same run, the same load generator.
#
#   scripts/compare-peers.sh [--peers DIR] [--rows NAME,...] [--settings equal,installed]
#                            [--rounds N] [--seconds S] [--address NAME=HOST:PORT]...
#   scripts/compare-peers.sh --list | --report FILE
#
# Writes results/compare-peers/<date>-<commit>.json and prints Markdown tables. Exit code: 0 all
# targets hold, 1 one does not or nothing could be measured, 2 wrong usage.
#
# Peers are found, not built; one that is not there is named as missing. In DIR (or $PEERS_DIR):
#   FlashMQ/       cmake -B build -DCMAKE_BUILD_TYPE=Release && make -C build
#   mosquitto/     cmake -B build -DCMAKE_BUILD_TYPE=Release -DDOCUMENTATION=OFF -DWITH_TESTS=OFF \
#                        -DWITH_WEBSOCKETS=OFF (needs xsltproc) && make -C build mosquitto
#   rumqttd/       cargo install rumqttd --root DIR/rumqttd    (its lock file does not build with Rust 1.95)
# and from the PATH the distribution's mosquitto (apt-get install mosquitto). Any other broker takes part
# by its address: start it, and name it with --address. Its settings are as they are; its CPU is known if
# it runs on this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in
    *" --list "* | *" --report "* | *" --help "* | *" -h "*) ;;
    *) [ -n "${SKIP_BUILD:-}" ] || cargo build --release --workspace --locked --quiet ;;
esac
exec python3 scripts/compare_peers "$@"
