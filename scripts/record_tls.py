#!/usr/bin/env python3
"""Makes one result in results/tls of the runs of scripts/tls.sh: medians of the rounds, and each run.

    record_tls.py RUNS CONNECTIONS HANDSHAKES MESSAGES ROUNDS BROKER [FLASHMQ]

A verdict is about our broker only; a run of any broker that failed or was void is named.
"""

import json
import pathlib
import statistics
import sys

from record import text, write
from record_run import commit

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Bytes of user memory that an idle TLS connection may take.
IDLE_TLS_BYTES_MAX = 6 * 1024
# Which figure of a run is meant.
FIGURES = {
    "memory": ("user_bytes_per_connection", "_bytes"),
    "messages": ("cpu_us_per_delivery", "_cpu_us_per_delivery"),
}
CONNECT = ("cpu_us_per_connect", "_cpu_us")


def version(*command):
    said = text(*command).splitlines()
    return said[0] if said else ""


def read(runs):
    """The reports by what was measured and broker, in the order of their rounds."""
    reports = {}
    for path in sorted(runs.glob("*/*.json")):
        what, broker = path.parent.name.split(".")
        reports.setdefault((what, broker), []).append(json.loads(path.read_text()))
    return reports


def figure(what, report):
    name, _ = FIGURES.get(what.split("_")[0], CONNECT)
    measured = report["measured"]
    for known in (name, f"broker_{name}"):
        if measured.get(known) is not None:
            return measured[known]
    return None


def main():
    runs, connections, handshakes, messages, rounds, broker, *flashmq = sys.argv[1:]
    measured, raw, failed = {}, {}, []
    for (what, name), reports in read(pathlib.Path(runs)).items():
        values = [value for value in (figure(what, report) for report in reports) if value is not None]
        _, unit = FIGURES.get(what.split("_")[0], CONNECT)
        key = f"{name}_{what}{unit}"
        measured[key] = round(statistics.median(values), 1) if values else None
        raw[key] = values
        for report in reports:
            bad = [verdict["name"] for verdict in report["verdicts"] if not verdict["ok"]]
            if bad or report["void"]:
                failed.append(f"{what} of {name}: {', '.join(bad) or 'void'}")
            if what.startswith("resumed") and report["measured"].get("tls_handshakes_full", 0) > len(reports) + 64:
                failed.append(f"{what} of {name}: {report['measured']['tls_handshakes_full']} were not resumed")
    measured |= {
        "connections": int(connections),
        "handshakes": int(handshakes),
        "messages": int(messages),
        "rounds": int(rounds),
        "failed_runs": len([one for one in failed if " of millrace" in one]),
        "runs_with_a_fault": failed,
        "values_of_the_rounds": raw,
        "broker_versions": {
            "millrace": version(broker, "--version"),
            "mosquitto": version("mosquitto", "-h"),
            **({"flashmq": version(flashmq[0], "--version")} if flashmq else {}),
        },
    }
    limits = [("failed_runs", "=", 0)]
    limits += [
        (f"millrace_memory_{kind}_bytes", "<=", IDLE_TLS_BYTES_MAX) for kind in ("tls12", "tls13", "mutual")
    ]
    command = [f"HANDSHAKES={handshakes}", f"MESSAGES={messages}", f"ROUNDS={rounds}", "scripts/tls.sh", connections]
    path = write(ROOT, "tls-costs", command, measured, limits, commit=commit(), folder="tls")
    for key in sorted(measured):
        if isinstance(measured[key], (int, float)):
            print(f"  {key:48} {measured[key]}")
    verdicts = json.loads(path.read_text())["verdicts"]
    wrong = [verdict for verdict in verdicts if not verdict["ok"]]
    for verdict in wrong:
        print(f"not held: {verdict['name']} {verdict['relation']} {verdict['limit']}: {verdict['value']}")
    for one in failed:
        print(f"fault: {one}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
