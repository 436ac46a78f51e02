"""Medians, ratios, verdicts and the Markdown tables."""

from statistics import median

import rows

OURS = "millrace"
CPU, RATE = "cpu_us_per_delivery", "deliveries_per_second"
# A ratio of fewer pairs proves nothing.
PAIRS_MIN = 5
LATENCIES = ("latency_us_p50", "latency_us_p99", "latency_us_p999")


def usable(runs):
    return [run for run in runs if "failed" not in run and not run["void"]]


def values(runs, figure):
    return [run[figure] for run in usable(runs) if run.get(figure) is not None]


def median_of(runs, figure):
    found = values(runs, figure)
    return median(found) if found else None


def is_clean(runs):
    """Every run came to its end with nothing lost or wrong; void ones say nothing either way."""
    return bool(usable(runs)) and not faults(runs) and not any("failed" in run for run in runs)


def faults(runs):
    total = {}
    for run in usable(runs):
        for name, count in run["faults"].items():
            total[name] = total.get(name, 0) + count
    return total


def summary(result):
    """Median, least and most of every figure, by settings, row and broker."""
    out = {}
    for settings, by_row in result["rows"].items():
        for row, entry in by_row.items():
            for broker, runs in entry["brokers"].items():
                figures = {"runs": len(usable(runs)), "faults": faults(runs)}
                for figure in (CPU, RATE, *LATENCIES, "others_cpu_percent"):
                    found = values(runs, figure)
                    if found:
                        figures[figure] = [median(found), min(found), max(found)]
                out.setdefault(settings, {}).setdefault(row, {})[broker] = figures
    return out


def pair_ratios(one, other, figure):
    """Ratios of the runs of the same rounds."""
    by_round = {run["round"]: run[figure] for run in usable(other) if run.get(figure)}
    return [
        run[figure] / by_round[run["round"]]
        for run in usable(one)
        if run.get(figure) and run["round"] in by_round
    ]


def best_peer(entry, figure, most=False):
    """The peer with the best median; one that loses messages does not count."""
    candidates = {
        name: median_of(runs, figure)
        for name, runs in entry["brokers"].items()
        if not name.startswith(OURS) and is_clean(runs) and median_of(runs, figure)
    }
    if not candidates:
        return None
    return (max if most else min)(candidates, key=candidates.get)


def verdict(name, relation, limit, ratios, pairs_min=PAIRS_MIN):
    value = round(median(ratios), 3) if ratios else None
    spread = [round(min(ratios), 3), round(max(ratios), 3)] if ratios else None
    holds = value is not None and (value <= limit if relation == "<=" else value >= limit)
    ok = holds and len(ratios) >= pairs_min
    return {"name": name, "relation": relation, "limit": limit, "value": value,
            "spread": spread, "pairs": len(ratios), "ok": ok}


def verdicts(result):
    """The targets; they bind the rows with equal windows."""
    equal = result["rows"].get("equal", {})
    out = []
    for name, entry in equal.items():
        row, ours = rows.BY_NAME[name], entry["brokers"].get(OURS, [])
        if not ours:
            continue
        clean = 1 if is_clean(ours) else 0
        out.append(verdict(f"{name}: no loss", ">=", 1, [clean], pairs_min=1))
        peers = [n for n in entry["brokers"] if not n.startswith(OURS)]
        if not peers:
            continue
        if row.is_latency_row and row.half_rate_of:
            for figure in LATENCIES:
                best = best_peer(entry, figure)
                ratios = pair_ratios(ours, entry["brokers"][best], figure) if best else []
                out.append(verdict(f"{name}: {figure} to {best}", "<=", 1, ratios))
        elif not row.is_latency_row:
            if row.cpu_share_max:
                best = best_peer(entry, CPU)
                ratios = pair_ratios(ours, entry["brokers"][best], CPU) if best else []
                out.append(verdict(f"{name}: CPU to {best}", "<=", row.cpu_share_max, ratios))
            best = best_peer(entry, RATE, most=True)
            ratios = pair_ratios(ours, entry["brokers"][best], RATE) if best else []
            out.append(verdict(f"{name}: rate to {best}", ">=", 1, ratios))
    for name, row, other, limit in rows.RATIOS:
        if row in equal and other in equal:
            runs = [equal[r]["brokers"].get(OURS, []) for r in (row, other)]
            out.append(verdict(f"{name}: CPU", "<=", limit, pair_ratios(*runs, CPU)))
    return out


def number(value):
    if value is None:
        return "-"
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def milliseconds(us):
    return "-" if us is None else f"{us / 1000:.2f}" if us < 100_000 else f"{us / 1000:.0f}"


def spread_cell(runs, figure):
    found = values(runs, figure)
    if not found:
        return "-"
    return f"{number(median(found))} ({number(min(found))} to {number(max(found))})"


def latency_cell(runs):
    return " / ".join(milliseconds(median_of(runs, figure)) for figure in LATENCIES)


def with_faults(cell, runs):
    """Says in the cell when the row was not clean."""
    if not runs:
        return "not run"
    failed = [run for run in runs if "failed" in run]
    void = sum(1 for run in runs if run.get("void"))
    said = [f"{name} {count}" for name, count in faults(runs).items()]
    said += [f"{len(failed)} runs failed: {failed[0]['failed'][:80]}"] if failed else []
    said += [f"{void} runs void"] if void else []
    return f"{cell} **{', '.join(said)}**" if said else cell


def table(result, settings, title, cell, wanted, ratio=None):
    names = [b["name"] for b in result["brokers"]]
    by_row = {n: e for n, e in result["rows"][settings].items() if wanted(rows.BY_NAME[n])}
    names = [n for n in names if any(n in entry["brokers"] for entry in by_row.values())]
    if not by_row:
        return []
    head = ["row"] + names + (["Millrace to best peer"] if ratio else [])
    lines = ["", f"**{title}**", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for entry in by_row.values():
        rate = f", {entry['rate']:,.0f} a second" if entry.get("rate") else ""
        cells = [entry["title"] + rate]
        for name in names:
            runs = entry["brokers"].get(name, [])
            cells.append(with_faults(cell(runs), runs))
        if ratio:
            cells.append(ratio_cell(entry, *ratio))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def ratio_cell(entry, figure, most):
    best, ours = best_peer(entry, figure, most), entry["brokers"].get(OURS, [])
    ratios = pair_ratios(ours, entry["brokers"][best], figure) if best else []
    if not ratios:
        return "-"
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {best}"


def word(v):
    few = v["pairs"] < PAIRS_MIN and "no loss" not in v["name"]
    return "ok" if v["ok"] else f"{v['pairs']} pairs only" if few else "missed"


def rounds(result):
    return ", ".join(f"{number} {kind}" for kind, number in result["rounds_complete"].items())


def markdown(result):
    machine = result["environment"]
    lines = ["# Brokers compared", ""]
    lines += [f"{result['date']}, commit {result['commit']}, rounds: {rounds(result)}; "
              f"`{' '.join(result['command'])}`"]
    lines += [f"Machine: {machine.get('cpus')} CPUs ({machine.get('cpu_model')}), "
              f"{(machine.get('memory_bytes') or 0) >> 30} GiB, Linux {machine.get('kernel')}, "
              "shared with the load generator. Medians (least to most)."]
    others = [run["others_cpu_percent"] for by_row in result["rows"].values()
              for entry in by_row.values() for runs in entry["brokers"].values() for run in usable(runs)]
    if others:
        lines += [f"Other work took {median(others):.0f}% of the machine (median of the runs, "
                  f"{max(others):.0f}% at most)."]
    lines += ["", "| broker | version | commit | installed | equal |", "|" + " --- |" * 5]
    for b in result["brokers"]:
        kinds = b["settings"]
        lines.append(f"| {b['name']} | {b['version']} | {b['commit']} | {kinds['installed']} | {kinds['equal']} |")
    lines += [f"| {name} | missing | | | |" for name in result["missing"]]
    for settings in result["rows"]:
        lines += ["", f"## Settings: {settings}"]
        closed = lambda row: not row.is_latency_row
        opened = lambda row: row.is_latency_row
        lines += table(result, settings, "Broker CPU, microseconds a delivery",
                       lambda runs: spread_cell(runs, CPU), closed, (CPU, False))
        lines += table(result, settings, "Deliveries a second",
                       lambda runs: spread_cell(runs, RATE), closed, (RATE, True))
        lines += table(result, settings, "Latency in the closed loop, ms: p50 / p99 / p99.9", latency_cell, closed)
        lines += table(result, settings, "Latency at a given rate, ms: p50 / p99 / p99.9",
                       latency_cell, opened, ("latency_us_p99", False))
        lines += table(result, settings, "Broker CPU at a given rate, microseconds a delivery",
                       lambda runs: spread_cell(runs, CPU), opened)
    lines += ["", "## Targets (equal windows)", "", "| target | limit | median of pairs (spread) | |", "|" + " --- |" * 4]
    for v in result["verdicts"]:
        spread = f" ({v['spread'][0]} to {v['spread'][1]})" if v["spread"] else ""
        lines.append(f"| {v['name']} | {v['relation']} {v['limit']} | {v['value']}{spread} | {word(v)} |")
    return "\n".join(lines)
