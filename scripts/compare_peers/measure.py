"""One run of one broker in one row, judged by bench-harness."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from brokers import IN_FLIGHT, Reached, Running

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
    "failed_connects",
    "disconnects",
)
# What Millrace counts of itself: how often it was where.
COUNTERS = ("ring.enters", "ring.completions", "ring.sends", "turn.count", "turn.parks", "mesh.records",
            "mesh.bytes", "mesh.wakes", "mesh.full", "memory.allocations")
IDLE_SECONDS = 1.0
# Counters that a core copies now and then are copied at the latest after this, by a core that is awake.
COPIED_SECONDS = 0.6


def run(harness, broker, settings, row, port, seconds, rate=None):
    """What one run gave: its figures and faults, or `failed` with the reason."""
    with tempfile.TemporaryDirectory(prefix="compare-peers-") as folder:
        try:
            running = Reached(broker) if broker.address else Running(broker, settings, folder, port)
        except RuntimeError as error:
            return {"failed": str(error), "command": []}
        try:
            return _drive(harness, running, settings, row, port, seconds, rate, folder, broker)
        finally:
            running.stop()


def command_line(harness, row, settings, target, seconds, rate):
    if row.is_connect_row:
        return [str(harness), "connect", *row.arguments.split(), "--target", target,
                "--scenario", row.name, "--quiet"]
    command = [str(harness), "pubsub", *row.arguments.split()]
    command += ["--target", target, "--duration", f"{seconds:g}"]
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
    at = broker.address or f"127.0.0.1:{port + (broker.v5_port_offset if row.is_v5 else 0)}"
    command = command_line(harness, row, settings, at, seconds, rate)
    out = Path(folder) / "out"
    idle_percent = None
    if row.is_latency_row and running.pid:
        time.sleep(0.3)
        before = _threads_ns(running.pid)
        time.sleep(IDLE_SECONDS)
        idle_percent = round((_threads_ns(running.pid) - before) / IDLE_SECONDS / 1e7, 3)
    full = command + ["--out", str(out), "--commit", "run"]
    if running.pid:
        full += ["--broker-pid", str(running.pid)]
    machine, own = _machine_ticks(), _process_ticks(running.pid)
    beside = _begin_beside(harness, row, broker.address or f"127.0.0.1:{port}", seconds)
    try:
        process = subprocess.run(full, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return {"failed": f"no end within {RUN_SECONDS_MAX} s", "command": command}
    finally:
        stream = _end_beside(beside)
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
    if row.is_connect_row:
        result["cpu_us_per_delivery"] = measured.get("cpu_us_per_connect")
    if stream is not None:
        result["stream_bytes_per_second"] = stream
    if idle_percent is not None:
        result["idle_cpu_percent"] = idle_percent
    if broker.counts_itself:
        result["counters"] = _counters(running)
    if broker.is_reference:
        result["wake_us"] = _wake_us(running)
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


def _begin_beside(harness, row, target, seconds):
    """A load that runs beside the one that is measured, and longer."""
    if not row.beside:
        return None
    command = [str(harness), "pubsub", *row.beside.split(), "--target", target,
               "--duration", f"{seconds + 1:g}", "--drain", "1", "--quiet", "--no-results",
               "--source-net", "9"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    time.sleep(0.4)
    return process, int(re.search(r"--size (\d+)", row.beside).group(1))


def _end_beside(beside):
    """Bytes a second that the load beside had delivered."""
    if beside is None:
        return None
    process, size = beside
    try:
        text, _ = process.communicate(timeout=RUN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        return 0
    found = re.search(r"deliveries_per_second\s+([\d.]+)", text)
    return round(float(found.group(1)) * size) if found else 0


def _counters(running):
    """Millrace's own counters since its start: it prints them when it gets SIGUSR1."""
    time.sleep(COPIED_SECONDS)
    found = {}
    for _ in range(2):
        before = len(_reports(running))
        os.kill(running.pid, signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while len(_reports(running)) == before and time.monotonic() < deadline:
            time.sleep(0.02)
    reports = _reports(running)
    for name in COUNTERS if reports else ():
        match = re.search(rf'"{re.escape(name)}":(\d+)', reports[-1])
        if match:
            found[name] = int(match.group(1))
    return found


def _reports(running):
    lines = running.log.read_text(errors="replace").split("\n")
    return [line for line in lines if line.startswith("{") and line.endswith("}")]


def _wake_us(running):
    match = re.search(r"wake of .*: p50 (\d+) us, p99 (\d+) us", running.log.read_text(errors="replace"))
    return [int(match.group(1)), int(match.group(2))] if match else None


def _threads_ns(pid):
    """Run time of all threads so far."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[0])
        except (OSError, IndexError):
            pass
    return total


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
