#!/usr/bin/env bash
# Writes results/coefficients.json, which `broker estimate` has built in: figures from the newest result
# of each scenario that has one, each with its commit, date and machine. What no result has is left out.
#
#   scripts/coefficients.sh            writes the file
#   scripts/coefficients.sh --check    exit code 1 if the file is not that of the results
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 - "${1:-}" <<'END'
import glob
import json
import sys

FILE = "results/coefficients.json"
# Name in the file, scenario, figure of that scenario.
WANTED = [
    ("user_bytes_per_connection", "memory-1m", "user_bytes_per_connection"),
    ("user_bytes_per_subscribed_connection", "memory-1m-subscribed", "user_bytes_per_connection"),
    ("kernel_bytes_per_connection_both_ends", "memory-1m", "kernel_slab_bytes_per_connection_both_ends"),
    ("user_bytes_idle_2_cores", "pairs-qos0-2-cores", "idle_user_bytes"),
    ("user_bytes_idle_8_cores", "pairs-qos0-8-cores", "idle_user_bytes"),
    ("cpu_us_per_connect", "connections-200000", "cpu_us_per_connect"),
    ("cpu_us_per_delivery_qos0_full_turns", "pairs-qos0-8-cores", "cpu_us_per_delivery"),
    ("cpu_us_per_delivery_qos1_full_turns", "pairs-qos1-8-cores", "cpu_us_per_delivery"),
    ("cpu_us_per_delivery_qos2_full_turns", "pairs-qos2-8-cores", "cpu_us_per_delivery"),
    ("cpu_us_per_delivery_qos0_sparse_turns", "overload-qos0", "cpu_us_per_delivery"),
    ("cpu_us_per_delivery_qos1_sparse_turns", "overload-qos1", "cpu_us_per_delivery"),
]

def newest(scenario):
    """The newest result of a scenario that is not void."""
    for path in sorted(glob.glob(f"results/{scenario}/*.json"), reverse=True):
        with open(path) as file:
            result = json.load(file)
        if not result.get("void"):
            return path, result
    return None, None

coefficients = {}
for name, scenario, figure in WANTED:
    path, result = newest(scenario)
    value = (result or {}).get("measured", {}).get(figure)
    if value is None:
        continue
    environment = result["environment"]
    coefficients[name] = {
        "value": value,
        "result": path,
        "commit": result["commit"],
        "date": result["date"],
        "machine": f'{environment["cpus"]} CPUs {environment["cpu_model"]}, Linux {environment["kernel"]}',
    }
text = json.dumps({"schema": 1, "coefficients": coefficients}, indent=2) + "\n"
if sys.argv[1] == "--check":
    with open(FILE) as file:
        if file.read() != text:
            sys.exit(f"{FILE} is not that of the results; run scripts/coefficients.sh")
else:
    with open(FILE, "w") as file:
        file.write(text)
END
