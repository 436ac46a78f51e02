"""Millrace alone, over cores; see ../scale.sh."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import brokers
import measure
import report
from rows import DEEP, ONE, TEN, Row

ROOT = Path(__file__).resolve().parents[2]
CORES = (1, 2, 4, 8)
PLACED = [
    Row("one-qos0", "1 to 1, QoS 0, deep", f"{ONE} -q 0 {DEEP}"),
    Row("one-qos1", "1 to 1, QoS 1, deep", f"{ONE} -q 1 {DEEP}"),
    Row("one-by-one", "1 to 1, QoS 0, 1 in flight", f"{ONE} -q 0 --window 1"),
    Row("one-64k", "1 to 1, QoS 0, 64 KiB, 20 in flight", f"{ONE} -q 0 --size 65536 --window 20"),
]
SPREAD = [
    Row("ten-qos0", "10 pairs, QoS 0, deep", f"{TEN} -q 0 {DEEP}"),
    Row("ten-qos1", "10 pairs, QoS 1, deep", f"{TEN} -q 1 {DEEP}"),
    Row("fan-out", "1 to 1000, QoS 0, 20 in flight", "-p 1 -s 1000 --topology fan-out -q 0 --window 20"),
    Row("hundred-one", "100 pairs, QoS 0, 1 in flight", "-p 100 -s 100 -q 0 --window 1"),
]
COUNTS = ("mesh.records", "mesh.wakes", "ring.enters", "ring.sends", "turn.parks")
# Client ids are drawn anew for each run, so about half of the runs cross.
PLACED_RUNS_MAX = 4


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/scale.sh")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.8)
    parser.add_argument("--port", type=int, default=1960)
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    return parser.parse_args()


def figures(run):
    """CPU, rate, latency and counts a delivery."""
    out = {name: run[name] for name in (report.CPU, report.RATE, *report.LATENCIES)}
    deliveries = max(1, run["deliveries"] or 0)
    for name in COUNTS:
        out[f"{name} a delivery"] = round(run["counters"].get(name, 0) / deliveries, 4)
    return out


def one(args, harness, cores, row):
    broker = brokers.millrace(ROOT, cores)
    args.port += 1
    run = measure.run(harness, broker, "equal", row, args.port, args.seconds)
    if "failed" in run or run["void"] or run["faults"]:
        print(f"{row.name} on {cores} cores: {run.get('failed') or run.get('faults') or 'void'}", file=sys.stderr)
        return None
    return run


def keep(rows, row, column, run):
    entry = rows.setdefault(row.name, {"title": row.title, "columns": {}})
    entry["columns"].setdefault(column, []).append(figures(run))


def measure_all(args):
    harness = ROOT / "target/release/bench-harness"
    rows = {}
    for number in range(args.rounds):
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
        for row in PLACED:
            seen = set()
            for _ in range(PLACED_RUNS_MAX):
                run = one(args, harness, 2, row)
                if run is None:
                    continue
                column = "2 cores, across" if report.crosses(run) else "2 cores, the same"
                if column not in seen:
                    keep(rows, row, column, run)
                seen.add(column)
                if len(seen) == 2:
                    break
        for row in SPREAD:
            for cores in CORES:
                run = one(args, harness, cores, row)
                if run is not None:
                    keep(rows, row, f"--cores {cores}", run)
    return rows


def cell(runs, name):
    values = [run[name] for run in runs if run[name] is not None]
    return f"{report.number(median(values))}" if values else "-"


def markdown(result):
    machine = result["environment"]
    lines = ["# Over cores", "", f"{result['date']}, commit {result['commit']}, broker at {result['broker']}; "
             f"{machine['cpus']} CPUs shared with the load generator, Linux {machine['kernel']}; medians of "
             f"{result['rounds']} rounds; `{' '.join(result['command'])}`"]
    heads = ("CPU us a delivery", "deliveries a second", "p50 / p99 ms", "records", "wakes", "enters", "sends", "sleeps")
    lines += ["", "Counts are a delivery.", "", "| | | " + " | ".join(heads) + " |", "|" + " --- |" * (len(heads) + 2)]
    for entry in result["rows"].values():
        for column, runs in sorted(entry["columns"].items()):
            p50, p99 = (report.milliseconds(median(run[name] for run in runs)) for name in report.LATENCIES[:2])
            cells = [cell(runs, report.CPU), cell(runs, report.RATE), f"{p50} / {p99}"]
            cells += [f"{median(run[f'{name} a delivery'] for run in runs):.3f}" for name in COUNTS]
            lines.append(f"| {entry['title']} | {column} ({len(runs)} runs) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main():
    args = arguments()
    broker = brokers.millrace(ROOT, 2)
    if broker is None:
        print("the broker is not built", file=sys.stderr)
        return 2
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    result = {
        "schema": 1,
        "scenario": "scale",
        "date": time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime()),
        "commit": commit.stdout.strip() or "unknown",
        "command": ["scripts/scale.sh", *sys.argv[1:]],
        "broker": broker.commit,
        "environment": {"kernel": platform.release(), "cpus": len(os.sched_getaffinity(0))},
        "rounds": args.rounds,
        "rows": measure_all(args),
    }
    folder = args.out / "scale"
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"{result['date']}-{result['commit']}"
    base.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    base.with_suffix(".md").write_text(text)
    print(text)
    return 0


sys.exit(main())
