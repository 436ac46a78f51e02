"""Medians, ratios, verdicts and the Markdown tables."""

from statistics import median

import rows

OURS = "millrace"
REFERENCE = "reference"
ONE_CORE = "millrace-1-core"
CPU, RATE = "cpu_us_per_delivery", "deliveries_per_second"
# A ratio of fewer pairs proves nothing.
PAIRS_MIN = 5
LATENCIES = ("latency_us_p50", "latency_us_p99", "latency_us_p999")


def is_peer(name):
    return not name.startswith(OURS) and name != REFERENCE


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
        if is_peer(name) and is_clean(runs) and median_of(runs, figure)
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
        out += reference_verdicts(name, row, entry)
        if not any(is_peer(n) for n in entry["brokers"]):
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
            if row.is_connect_row:
                continue
            best = best_peer(entry, RATE, most=True)
            ratios = pair_ratios(ours, entry["brokers"][best], RATE) if best else []
            out.append(verdict(f"{name}: rate to {best}", ">=", 1, ratios))
    if "steady-beside" in equal and "steady-1000" in equal:
        both = [equal[r]["brokers"].get(OURS, []) for r in ("steady-beside", "steady-1000")]
        out.append(verdict("p99 beside a stream", "<=", 3, pair_ratios(*both, "latency_us_p99")))
    for name, row, other, limit in rows.RATIOS:
        if row in equal and other in equal:
            runs = [equal[r]["brokers"].get(OURS, []) for r in (row, other)]
            out.append(verdict(f"{name}: CPU", "<=", limit, pair_ratios(*runs, CPU)))
    return out


def reference_verdicts(name, row, entry):
    """At a low rate: on one core p99 at most twice the bare loop's; across cores two wakes more. And a
    stream beside may make it three times what it is without."""
    if row.rate is None or row.beside:
        return []
    bare = entry["brokers"].get(REFERENCE, [])
    one_core = entry["brokers"].get(ONE_CORE, [])
    out = [verdict(f"{name}: p99 on one core to the bare loop's", "<=", 2,
                   pair_ratios(one_core, bare, "latency_us_p99"))]
    bare_p99 = {run["round"]: 2 * run["latency_us_p99"] + 2 * run["wake_us"][1]
                for run in usable(bare) if run.get("wake_us")}
    across = [run for run in usable(entry["brokers"].get(OURS, [])) if crosses(run)]
    ratios = [run["latency_us_p99"] / bare_p99[run["round"]] for run in across if run["round"] in bare_p99]
    out.append(verdict(f"{name}: p99 across cores to twice the bare loop's and two wakes", "<=", 1,
                       ratios, pairs_min=1))
    return out


def crosses(run):
    """Whether the run's one publisher and its subscriber are on different cores."""
    counters = run.get("counters") or {}
    return counters.get("mesh.records", 0) > (run.get("deliveries") or 0) / 2


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


def bytes_table(result, settings):
    """Large messages: MiB a second, and the share of what a bare copy reaches."""
    by_row = {n: e for n, e in result["rows"][settings].items() if rows.BY_NAME[n].size}
    if not by_row:
        return []
    names = [b["name"] for b in result["brokers"]]
    names = [n for n in names if any(n in entry["brokers"] for entry in by_row.values())]
    head = ["row"] + names + ["Millrace to the bare copy"]
    lines = ["", "**MiB a second**", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row, entry in by_row.items():
        size = rows.BY_NAME[row].size / (1 << 20)
        rates = {name: median_of(entry["brokers"].get(name, []), RATE) for name in names}
        cells = [number(rates[n] * size) if rates[n] else "-" for n in names]
        ratios = pair_ratios(entry["brokers"].get(OURS, []), entry["brokers"].get(REFERENCE, []), RATE)
        ratio = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "-"
        lines.append("| " + " | ".join([entry["title"], *cells, ratio]) + " |")
    return lines


def spin_table(result, settings):
    """What Millrace's ways to wait cost while nothing happens, and whether the runs crossed cores."""
    entry = result["rows"][settings].get("steady-1000")
    if not entry:
        return []
    lines = ["", "**At 1,000 a second: idle CPU before it, percent of one CPU; p50 / p99 / p99.9 in ms**", "",
             "| | idle CPU | same core | across cores |", "| --- | --- | --- | --- |"]
    for name, runs in entry["brokers"].items():
        if not name.startswith(OURS):
            continue
        same = [run for run in usable(runs) if not crosses(run)]
        across = [run for run in usable(runs) if crosses(run)]
        cells = [f"{latency_cell(part)} ({len(part)} runs)" if part else "-" for part in (same, across)]
        lines.append(f"| {name} | {number(median_of(runs, 'idle_cpu_percent'))} | {' | '.join(cells)} |")
    wakes = [run["wake_us"] for run in usable(entry["brokers"].get(REFERENCE, [])) if run.get("wake_us")]
    if wakes:
        p50, p99 = (median(wake[at] for wake in wakes) for at in (0, 1))
        lines.append(f"\nA wake of a sleeping thread on another CPU, measured beside: p50 {p50:.0f} us, "
                     f"p99 {p99:.0f} us.")
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
        lines += bytes_table(result, settings)
        lines += table(result, settings, "Latency in the closed loop, ms: p50 / p99 / p99.9", latency_cell, closed)
        lines += table(result, settings, "Latency at a given rate, ms: p50 / p99 / p99.9",
                       latency_cell, opened, ("latency_us_p99", False))
        lines += table(result, settings, "Broker CPU at a given rate, microseconds a delivery",
                       lambda runs: spread_cell(runs, CPU), opened)
        lines += spin_table(result, settings)
    lines += ["", "## Targets (equal windows)", "", "| target | limit | median of pairs (spread) | |", "|" + " --- |" * 4]
    for v in result["verdicts"]:
        spread = f" ({v['spread'][0]} to {v['spread'][1]})" if v["spread"] else ""
        lines.append(f"| {v['name']} | {v['relation']} {v['limit']} | {v['value']}{spread} | {word(v)} |")
    return "\n".join(lines)
