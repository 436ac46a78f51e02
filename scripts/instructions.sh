#!/usr/bin/env bash
# Instructions an item of `bench-harness/benches/message.rs`, counted by callgrind: the same on a busy machine
# as on a quiet one.
#
#   scripts/instructions.sh [CASE...]
#
# Writes results/instructions/<date>-<commit>.json and prints it as a table. Needs valgrind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v valgrind >/dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 2; }

FEW=1600 MANY=4800 # multiples of the batches of the bench

built=$(cargo bench --bench message --locked --no-run 2>&1 | tee /dev/stderr | sed -n 's/.*(\(.*\))$/\1/p' | tail -n 1)
[ -x "$built" ]
[ $# -gt 0 ] || mapfile -t all < <("$built" --list)
[ $# -gt 0 ] && all=("$@")

# counted CASE ITEMS
counted() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$built" "$1" "$2" 2>&1 |
        awk '/Collected/ {print $4}'
}

rows=()
for case in "${all[@]}"; do
    few=$(counted "$case" "$FEW")
    many=$(counted "$case" "$MANY")
    each=$(awk -v few="$few" -v many="$many" -v n="$((MANY - FEW))" 'BEGIN {printf "%.1f", (many - few) / n}')
    printf '%-20s %10s instructions\n' "$case" "$each"
    rows+=("    \"$case\": $each")
done

out=results/instructions
mkdir -p "$out"
file=$out/$(date -u +%Y-%m-%dT%H%M%SZ)-$(git rev-parse --short HEAD).json
{
    echo '{'
    echo '  "schema": 1,'
    echo '  "scenario": "instructions",'
    echo "  \"date\": \"$(date -u +%Y-%m-%dT%H%M%SZ)\","
    echo "  \"commit\": \"$(git rev-parse --short HEAD)\","
    echo "  \"command\": [\"scripts/instructions.sh\"],"
    echo "  \"environment\": {\"machine\": \"$(uname -m)\", \"valgrind\": \"$(valgrind --version)\", \"rustc\": \"$(rustc --version)\"},"
    echo '  "instructions_per_item": {'
    printf '%s\n' "${rows[@]}" | sed '$!s/$/,/'
    echo '  }'
    echo '}'
} >"$file"
echo "written to $file"
