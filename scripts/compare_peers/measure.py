"""One run of one broker in one row, judged by bench-harness."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from brokers import IN_FLIGHT, Running

RUN_SECONDS_MAX = 30
TICKS = os.sysconf("SC_CLK_TCK")

FIGURES = (
    "cpu_us_per_delivery",
    "deliveries_per_second",
    "latency_us_p50",
    "latency_us_p99",
    "latency_us_p999",
)
FAULTS = (
    "lost",
    "duplicates",
    "out_of_order",
    "corrupt",
    "redelivered",
    "misdelivered",
    "wrong_qos",
    "wrong_retain",
    "foreign",
    "unclassified",
    "protocol_errors",
    "connections_lost",
    "publishes_refused",
    "window_stalls",
)


def run(harness, broker, settings, row, port, seconds, rate=None):
    """What one run gave: its figures and faults, or `failed` with the reason."""
    with tempfile.TemporaryDirectory(prefix="compare-peers-") as folder:
        try:
            running = Running(broker, settings, folder, port)
        except RuntimeError as error:
            return {"failed": str(error), "command": []}
        try:
            return _drive(harness, running, settings, row, port, seconds, rate, folder, broker)
        finally:
            running.stop()


def command_line(harness, row, settings, port, seconds, rate):
    command = [str(harness), "pubsub", *row.arguments.split()]
    command += ["--target", f"127.0.0.1:{port}", "--duration", f"{seconds:g}"]
    # A keep-alive that outlasts the run: one peer refuses connections without.
    command += ["--keep-alive", "600", "--drain", "1", "--stall", "2", "--scenario", row.name, "--quiet"]
    if rate is not None:
        command += ["--rate", f"{rate / row.publishers:.0f}"]
    if row.is_v5:
        command += ["--version", "5"]
    if row.is_v5 and settings == "equal":
        command += ["--receive-maximum", str(IN_FLIGHT)]
    return command


def _drive(harness, running, settings, row, port, seconds, rate, folder, broker):
    at = port + (broker.v5_port_offset if row.is_v5 else 0)
    command = command_line(harness, row, settings, at, seconds, rate)
    out = Path(folder) / "out"
    full = command + ["--out", str(out), "--broker-pid", str(running.pid), "--commit", "run"]
    machine, own = _machine_ticks(), _process_ticks(running.pid)
    try:
        process = subprocess.run(full, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return {"failed": f"no end within {RUN_SECONDS_MAX} s", "command": command}
    busy, everything = (after - before for after, before in zip(_machine_ticks(), machine))
    brokers_ticks = _process_ticks(running.pid) - own
    files = list(out.glob("*/*.json"))
    if not files:
        return {"failed": (process.stderr.strip() or "no result")[-300:], "command": command}
    report = json.loads(files[0].read_text())
    measured = report["measured"]
    others = busy - brokers_ticks - report["harness"]["cpu_seconds"] * TICKS
    result = {name: measured.get(name) for name in FIGURES}
    result["faults"] = {name: measured[name] for name in FAULTS if measured.get(name)}
    result["deliveries"] = measured.get("deliveries")
    result["elapsed_seconds"] = measured.get("elapsed_seconds")
    result["harness_cpu_seconds"] = report["harness"]["cpu_seconds"]
    result["harness_lag_us_p99"] = report["harness"]["lag_us_p99"]
    # What neither broker nor harness used of the machine: other work that disturbed the run.
    result["others_cpu_percent"] = round(100 * max(0, others) / max(1, everything), 1)
    result["void"] = report["void"]
    result["command"] = command
    result["environment"] = report["environment"]
    if not running.is_alive():
        result["faults"]["broker_died"] = 1
    return result


def _machine_ticks():
    """Busy and all clock ticks of all CPUs."""
    fields = [int(f) for f in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def _process_ticks(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def others_busy_percent(seconds):
    """How busy the machine is while nothing of this comparison runs."""
    busy, everything = _machine_ticks()
    time.sleep(seconds)
    busy_after, everything_after = _machine_ticks()
    return 100 * (busy_after - busy) / max(1, everything_after - everything)
