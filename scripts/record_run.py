#!/usr/bin/env python3
"""Runs a part of the long tests and writes what it printed to results/, in the harness's schema 1.

    record_run.py fuzz TARGET SECONDS LOG PROGRAM ARGUMENT...    one libFuzzer target
    record_run.py simulation SCENARIO LOG PROGRAM ARGUMENT...    seeds of the simulation

The commit is that of the start, with `-dirty` when the sources are not those of a commit. The exit code
is 1 when a limit is not held; the result is written all the same, when the run is cut short, too.
"""

import datetime
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

from record import text, write

ROOT = pathlib.Path(__file__).resolve().parents[1]
POLICIES = {os.SCHED_OTHER: "other", os.SCHED_BATCH: "batch", os.SCHED_IDLE: "idle"}
# A run may take a little less than asked for: the last input ends it.
SECONDS_SHORT_MAX = 5


def commit():
    """The commit; `-dirty` when a source differs from it or is not in it."""
    sources = ["--", ".", ":!results", ":!docs", ":!*.md"]
    changed = text("git", "-C", str(ROOT), "status", "--porcelain", *sources)
    return text("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def run(log, program):
    """Runs the program, its output to the file; its exit code, and what it took."""
    # The deadline of the part reaches the program as well, which then ends in order.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, "w") as out:
        status = subprocess.Popen(program, stdout=out, stderr=subprocess.STDOUT).wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return status, {
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 1),
        "rss_max_bytes": used.ru_maxrss * 1024,
        "exit_code": status,
        "nice": os.nice(0),
        "scheduling": POLICIES.get(os.sched_getscheduler(0), "realtime"),
    }


def last(pattern, output):
    """The groups of the last line with the pattern, as numbers."""
    found = None
    for found in re.finditer(pattern, output, re.M):
        pass
    return [int(group) for group in found.groups()] if found else None


def files(folder):
    return {entry.name for entry in pathlib.Path(folder).iterdir()} if pathlib.Path(folder).is_dir() else set()


def fuzz(target, seconds, log, *program):
    at, started = commit(), datetime.datetime.now(datetime.timezone.utc)
    kept = next((given.split("=", 1)[1] for given in program if given.startswith("-artifact_prefix=")), "")
    before = files(kept)
    status, measured = run(log, list(program))
    output = pathlib.Path(log).read_text(errors="replace")
    # `#123 REDUCE cov: 10 ft: 20 corp: 3/45b ...`; of a target that reaches nothing the parts are missing.
    reached = last(r"^#\d+\s.*\bcov: (\d+) ft: (\d+) corp: (\d+)/", output) or [0, 0, 0]
    executions = last(r"^stat::number_of_executed_units:\s*(\d+)", output) or last(r"^#(\d+)\s", output) or [0]
    failed_input = re.search(r"^(?:==\d+==|SUMMARY: libFuzzer: |thread '.*' .*panicked)", output, re.M)
    found = len(files(kept) - before) or int(failed_input is not None)
    measured |= {
        "target": target,
        "executions": executions[0],
        "executions_per_second": round(executions[0] / max(measured["seconds"], 0.1)),
        "coverage_edges": reached[0],
        "features": reached[1],
        "corpus_inputs": reached[2],
        "crashes": found,
        "engine": "libFuzzer",
        "toolchain": text("rustc", "+nightly", "--version"),
        "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fuzzer_arguments": [given.replace(f"{pathlib.Path.cwd()}/", "") for given in program if given.startswith("-")],
    }
    limits = [("crashes", "=", 0), ("exit_code", "=", 0), ("seconds", ">=", int(seconds) - SECONDS_SHORT_MAX)]
    command = [f"FUZZ_SECONDS={seconds}", f"FUZZ_TARGETS={target}", "scripts/test-long.sh", "fuzz"]
    finish("fuzz", f"fuzz-{target}", command, measured, limits, at)
    print(f"NOTE: {target}: {executions[0]} inputs in {measured['seconds']} s, {found} failures")
    return status == 0 and found == 0


def simulation(scenario, log, *program):
    at = commit()
    status, measured = run(log, list(program))
    output = pathlib.Path(log).read_text(errors="replace")
    limits = [("exit_code", "=", 0), ("failures", "=", 0)]
    # `wills: 10000 seeds, 7305 of them saw it`, or with counters in place of that.
    for name, seeds, saw in re.findall(r"^(?:test .* \.\.\. )?(\S.*?): (\d+) seeds, (.*)$", output, re.M):
        name = re.sub(r"\W", "_", name)
        measured[f"{name}_seeds"] = int(seeds)
        number = re.match(r"(\d+) of them saw it", saw)
        measured[f"{name}_saw_it"] = int(number.group(1)) if number else counters(saw)
        limits.append((f"{name}_seeds", ">=", int(os.environ.get("MILLRACE_SIM_SEEDS", seeds))))
    results = re.findall(r"^test result: .* (\d+) passed; (\d+) failed", output, re.M)
    measured["tests_passed"] = sum(int(passed) for passed, _ in results)
    measured["failures"] = sum(int(failed) for _, failed in results)
    limits.append(("tests_passed", ">=", 1))
    command = [f"{key}={os.environ[key]}" for key in sorted(os.environ) if key.startswith("MILLRACE_SIM_")]
    finish("simulation", scenario, command + list(program), measured, limits, at)
    return status == 0


def counters(saw):
    return {name: int(value) for name, value in re.findall(r"(\w+): (\d+)", saw)}


def finish(folder, scenario, command, measured, limits, at):
    write(ROOT, scenario, command, measured, limits, commit=at, folder=folder)


def main():
    kinds = {"fuzz": fuzz, "simulation": simulation}
    if len(sys.argv) < 5 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    sys.exit(0 if kinds[sys.argv[1]](*sys.argv[2:]) else 1)


if __name__ == "__main__":
    main()
