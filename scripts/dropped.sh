#!/usr/bin/env bash
# Asks a running broker (see report.sh) how many deliveries it dropped so far, and prints the number.
set -eu
"$(dirname "$0")/report.sh" | grep -o '"delivery.dropped":[0-9]*' | cut -d: -f2
