#!/usr/bin/env python3
"""Writes a result of something that is no load run, in the harness's schema 1.

`record.py SCENARIO COMMAND NAME=VALUE...`: a VALUE is JSON or text; `NAME=VALUE` with `<=`, `>=` or `==`
for `=` is a verdict over a measured NAME.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys


def text(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def environment():
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return {
        "cpus": os.cpu_count(),
        "cpu_model": cpu.group(1) if cpu else "",
        "memory_bytes": int(memory.group(1)) * 1024 if memory else 0,
        "kernel": os.uname().release,
        "load_average_1min": round(os.getloadavg()[0], 2),
        "rustc": text("rustc", "--version").split(" ")[1] if text("rustc", "--version") else "",
    }


def write(root, scenario, command, measured, limits, commit=None, date=None, folder=None, **harness):
    """Writes to results/<scenario>, or to a folder for several scenarios, whose files are named for them."""
    commit = commit or text("git", "-C", str(root), "rev-parse", "--short", "HEAD")
    now = datetime.datetime.now(datetime.timezone.utc)
    date = date or now.strftime("%Y-%m-%dT%H%M%SZ")
    compare = {"=": lambda a, b: a == b, "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b}
    verdicts = [
        {
            "name": name,
            "relation": relation,
            "limit": limit,
            "value": measured.get(name),
            "ok": measured.get(name) is not None and compare[relation](measured[name], limit),
        }
        for name, relation, limit in limits
    ]
    report = {
        "schema": 1,
        "scenario": scenario,
        "date": date,
        "commit": commit,
        "command": command,
        "environment": environment(),
        "harness": harness,
        "void": False,
        "void_reasons": [],
        "measured": measured,
        "verdicts": verdicts,
    }
    kept_in = pathlib.Path(root) / "results" / (folder or scenario)
    kept_in.mkdir(parents=True, exist_ok=True)
    name = f"{date}-{commit}-{scenario}.json" if folder else f"{date}-{commit}.json"
    path = kept_in / name
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {path.relative_to(root)}")
    return path


def value(of):
    try:
        return json.loads(of)
    except ValueError:
        return of


def main():
    scenario, command, measured, limits = sys.argv[1], sys.argv[2], {}, []
    for argument in sys.argv[3:]:
        name, relation, given = re.match(r"(\w+)(<=|>=|==|=)(.*)", argument, re.S).groups()
        if relation == "=":
            measured[name] = value(given)
        else:
            limits.append((name, relation.replace("==", "="), value(given)))
    commit = measured.pop("commit", None)
    write(pathlib.Path(__file__).parents[1], scenario, command.split(" "), measured, limits, commit)


if __name__ == "__main__":
    main()
