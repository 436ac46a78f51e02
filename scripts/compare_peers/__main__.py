"""Runs the comparison; see ../compare-peers.sh."""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import brokers
import measure
import readme
import report
import rows

ROOT = Path(__file__).resolve().parents[2]
VOID_RETRIES = 1
# What the machine's other work may take before a set of runs begins.
QUIET_PERCENT = 15


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/compare-peers.sh")
    parser.add_argument("--peers", type=Path, default=os.environ.get("PEERS_DIR", ROOT.parent / "peers"))
    parser.add_argument("--quick", action="store_true",
                        help="about five minutes: fewer rows, equal windows only, shorter runs")
    parser.add_argument("--full", action="store_true",
                        help="all rows, both settings (the default): about an hour")
    parser.add_argument("--rows", help="names, separated by commas")
    parser.add_argument("--settings")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, help="seconds to publish for, a run")
    parser.add_argument("--cores", type=int, default=2, help="cores of Millrace")
    parser.add_argument("--port", type=int, default=1900, help="the first of 12 private ports")
    parser.add_argument("--wait-quiet", type=float, default=0, metavar="SECONDS",
                        help="wait so long at most, each time, for other work to let up")
    parser.add_argument("--only", default="", help="brokers, separated by commas")
    parser.add_argument("--address", action="append", default=[], metavar="NAME=HOST:PORT",
                        help="a broker that runs already; may be given several times")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--report", type=Path, metavar="FILE", help="the tables of an earlier run")
    parser.add_argument("--readme", action="store_true",
                        help="put the table of the newest run, or of --report FILE, into README.md")
    parser.add_argument("--list", action="store_true", help="the rows' names")
    args = parser.parse_args()
    args.peers = Path(args.peers).resolve()
    args.settings = args.settings or ("equal" if args.quick else "equal,installed")
    args.seconds = args.seconds or (0.4 if args.quick else 1.5)
    wanted = args.rows or (",".join(rows.QUICK) if args.quick else "all")
    names = list(rows.BY_NAME) if wanted == "all" else wanted.split(",")
    unknown = [n for n in names if n not in rows.BY_NAME]
    unknown += [s for s in args.settings.split(",") if s not in ("equal", "installed")]
    if unknown or args.rounds < 1:
        parser.error(f"unknown: {', '.join(unknown) or '--rounds'}")
    args.rows = [rows.BY_NAME[n] for n in names]
    args.settings = args.settings.split(",")
    return args


def git(*command):
    run = subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True)
    return run.stdout.strip()


def measure_all(args, found, result):
    """Brokers innermost, so that each disturbance meets all of them alike."""
    rates = {}
    for settings in args.settings:
        for number in range(1, args.rounds + 1):
            for row in args.rows:
                rate = row_rate(row, settings, rates, result)
                if row.half_rate_of and rate is None:
                    continue
                wait_until_quiet(args.wait_quiet)
                note(f"{settings}, round {number} of {args.rounds}, {row.name}")
                measure_row(args, found, result, settings, row, rate, number)
            result["rounds_complete"][settings] = number
            save(args, result)


def measure_row(args, found, result, settings, row, rate, number):
    for index, broker in enumerate(found):
        if broker.latency_rows_only and not row.is_latency_row:
            continue
        if broker.is_reference and not row.with_reference:
            continue
        if row.half_rate_of and cannot_keep_up(result, settings, row, broker, rate):
            one = {"failed": "slower than this rate", "command": []}
        else:
            # A port of its own: connections that linger must not keep the next broker out.
            port = args.port + 2 * index
            one = run_again_while_void(args, broker, settings, row, port, rate)
        one["round"] = number
        keep(result, settings, row, broker.name, one, rate)


def cannot_keep_up(result, settings, row, broker, rate):
    """Its highest rate is below this one: there would be nothing but a growing queue to measure."""
    entry = result["rows"].get(settings, {}).get(row.half_rate_of, {})
    highest = report.median_of(entry.get("brokers", {}).get(broker.name, []), "deliveries_per_second")
    return highest is not None and highest < rate


def row_rate(row, settings, rates, result):
    """The rate of an open-loop row, fixed in its first round so that all rounds are alike."""
    name = (settings, row.name)
    if row.half_rate_of and name not in rates:
        runs = result["rows"].get(settings, {}).get(row.half_rate_of, {}).get("brokers", {})
        best = [
            report.median_of(of_broker, "deliveries_per_second")
            for broker, of_broker in runs.items()
            if report.is_peer(broker)
        ]
        best = [value for value in best if value]
        rates[name] = max(best) / 2 if best else None
    return row.rate if row.rate is not None else rates.get(name)


def run_again_while_void(args, broker, settings, row, port, rate):
    for _ in range(1 + VOID_RETRIES):
        one = measure.run(
            ROOT / "target/release/bench-harness", broker, settings, row, port, args.seconds, rate
        )
        if not one.get("void"):
            break
    return one


def keep(result, settings, row, broker, one, rate):
    entry = result["rows"].setdefault(settings, {}).setdefault(
        row.name, {"title": row.title, "rate": rate, "brokers": {}}
    )
    command, environment = one.pop("command"), one.pop("environment", None)
    if command:
        entry["command"] = " ".join(["bench-harness", *command[1:]])
    if environment:
        result["environment"] = environment
    entry["brokers"].setdefault(broker, []).append(one)


def save(args, result):
    folder = args.out / "compare-peers"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['date']}-{result['commit']}.json"
    result["summary"] = report.summary(result)
    result["verdicts"] = report.verdicts(result)
    path.write_text(compact(json.dumps(result, indent=1)) + "\n")
    return path


def compact(text):
    """Each run and each innermost list on one line."""
    inner = re.compile(r"\{[^{}\[\]]*(?:\{[^{}]*\}[^{}\[\]]*)?\}|\[[^\[\]{}]*\]")
    return inner.sub(lambda match: re.sub(r"\n\s*", " ", match.group(0)), text)


def wait_until_quiet(seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if measure.others_busy_percent(0.3) < QUIET_PERCENT:
            return


def note(text):
    print(text, file=sys.stderr, flush=True)


def main():
    args = arguments()
    if args.list:
        print("\n".join(f"{row.name:14} {row.title}" for row in rows.ROWS))
        return 0
    if args.readme:
        path = args.report or max((args.out / "compare-peers").glob("*.json"))
        readme.put_in(ROOT, path)
        return 0
    if args.report:
        earlier = json.loads(args.report.read_text())
        earlier["verdicts"] = report.verdicts(earlier)
        print(report.markdown(earlier))
        return 0
    found, missing = brokers.find(args.peers, ROOT, args.cores)
    try:
        found += [brokers.reached(named) for named in args.address]
    except (ValueError, IndexError):
        note("--address wants NAME=HOST:PORT")
        return 2
    if args.only:
        found = [b for b in found if b.name in args.only.split(",")]
    if not found or not (ROOT / "target/release/bench-harness").is_file():
        note("no broker was found, or bench-harness is not built")
        return 2
    for name in missing:
        note(f"missing: {name}")
    result = {
        "schema": 1,
        "scenario": "compare-peers",
        "date": time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime()),
        "commit": git("rev-parse", "--short", "HEAD") or "unknown",
        "command": ["scripts/compare-peers.sh", *sys.argv[1:]],
        "environment": {"machine": platform.machine()},
        "brokers": [broker.identity() for broker in found],
        "missing": missing,
        "rounds_complete": {},
        "rows": {},
    }
    try:
        measure_all(args, found, result)
    except KeyboardInterrupt:
        note("broken off; what was measured so far is kept")
    path = save(args, result)
    print(report.markdown(result))
    note(f"written to {path}")
    holds = result["rows"] and all(v["ok"] for v in result["verdicts"])
    return 0 if holds else 1


sys.exit(main())
