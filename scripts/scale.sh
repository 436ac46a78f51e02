#!/usr/bin/env bash
# What crossing cores costs: Millrace's CPU a message with publisher and subscriber on one core and on two,
# and with 1, 2, 4 and 8 cores on this machine's CPUs, with the counts of what crossed, woke and entered.
#
#   scripts/scale.sh [--rounds N] [--seconds S] [--out DIR]
#
# Writes results/scale/<date>-<commit>.json and .md; judges nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -n "${SKIP_BUILD:-}" ] || cargo build --release --workspace --locked --quiet
exec python3 scripts/compare_peers/scale.py "$@"
