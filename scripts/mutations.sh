#!/usr/bin/env bash
# Takes away, one after the other, what 30 rows of docs/conformance.tsv demand, and runs the test that
# each row names: it has to fail, and to pass without. Rows are drawn by bench-harness/mutations/draw.py,
# the edits are in edits.toml beside it; the result goes to results/mutations/.
#
#   scripts/mutations.sh        all
#   scripts/mutations.sh 3 17   these only, without a result

set -euo pipefail
cd "$(dirname "$0")/.."
python3 bench-harness/mutations/run.py "${MUTATIONS_SCRATCH:-target/mutations}" "$@"
