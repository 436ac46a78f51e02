"""The table of README.md, from a result."""

import json

import report
import rows

BEGIN, END = "<!-- compare-peers: made by scripts/compare-peers.sh --readme -->", "<!-- /compare-peers -->"


def put_in(root, path):
    """Replaces what lies between the marks."""
    result = json.loads(path.read_text())
    result["verdicts"] = report.verdicts(result)
    readme = root / "README.md"
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"README.md has no place for the table: {BEGIN} ... {END}")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(before + BEGIN + "\n" + "\n".join(lines(result, path.name)) + "\n" + END + after)


def lines(result, name):
    equal = result["rows"].get("equal", {})
    peers = [b for b in result["brokers"] if report.is_peer(b["name"])]
    ours = next((b for b in result["brokers"] if b["name"] == report.OURS), None)
    commit = ours["commit"] if ours else "unknown"
    out = ["Broker CPU in microseconds a delivery, medians; in the last two columns Millrace's CPU and rate as "
           f"shares of the best peer's, and whether the target holds (`results/compare-peers/{name}`, broker at "
           f"commit {commit}, equal windows; {others(equal)}):", ""]
    head = ["", "Millrace"] + [f"{b['name'].split('-')[0]} {b['version']}" for b in peers]
    head += ["CPU to the best peer", "rate to the best peer"]
    out += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row, entry in equal.items():
        if rows.BY_NAME[row].is_latency_row:
            continue
        names = [report.OURS] + [b["name"] for b in peers]
        cells = [cell(entry["brokers"].get(n, [])) for n in names]
        out.append("| " + " | ".join([entry["title"], *cells, *shares(result, row, entry)]) + " |")
    missed = [v["name"] for v in result["verdicts"] if report.word(v) != "ok"]
    held = len(result["verdicts"]) - len(missed)
    out += ["", f"Of {len(result['verdicts'])} targets {held} hold" +
            (f"; missed or not decided: {'; '.join(missed)}." if missed else ".")]
    return out


def others(equal):
    shares = [run["others_cpu_percent"] for entry in equal.values() for runs in entry["brokers"].values()
              for run in report.usable(runs)]
    if not shares:
        return "other work was not measured"
    return f"other work took {report.median(shares):.0f}% of the machine"


def cell(runs):
    text = report.number(report.median_of(runs, report.CPU))
    return report.with_faults(text, runs) if report.faults(runs) else text


def shares(result, row, entry):
    cells = []
    for figure, most, word in ((report.CPU, False, "CPU"), (report.RATE, True, "rate")):
        best = report.best_peer(entry, figure, most)
        ratios = report.pair_ratios(entry["brokers"].get(report.OURS, []), entry["brokers"][best], figure) if best else []
        if not ratios:
            cells.append("-")
            continue
        verdict = [v for v in result["verdicts"] if v["name"].startswith(f"{row}: {word} to ")]
        judged = f" {report.word(verdict[0])}" if verdict else ""
        cells.append(f"{report.median(ratios):.2f}{judged}")
    return cells
