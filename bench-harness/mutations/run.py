#!/usr/bin/env python3
"""Proves that the named tests of drawn rows notice when their behaviour is gone.

`run.py SCRATCH [NUMBER...]`: copies the sources to SCRATCH, lays all edits of edits.toml there, each
behind a switch that the environment sets, builds once, and runs each row's test without any switch (it
has to pass) and with its own (it has to fail). Prints a line a row; writes results/mutations/.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCRATCH = pathlib.Path(sys.argv[1]).resolve()
ONLY = {int(number) for number in sys.argv[2:]}
TEST_SECONDS = 120
BEGUN = time.time()
# Of what is copied; the tree may change while the tests run.
COMMIT = subprocess.run(
    ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
).stdout.strip()
SWITCH = '''
/// Whether a mutation is on.
pub(crate) fn mutated(number: u32) -> bool {
    static ON: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let read = || std::env::var("MILLRACE_MUTATION").ok().and_then(|n| n.parse().ok());
    *ON.get_or_init(|| read().unwrap_or(0)) == number
}
'''


def copy():
    SCRATCH.mkdir(parents=True, exist_ok=True)
    names = ["Cargo.toml", "Cargo.lock", "src", "bench-harness", "docs"]
    excluded = ["--exclude=target", "--exclude=fuzz"]
    command = ["rsync", "-a", "--delete", *excluded]
    if subprocess.run(["which", "rsync"], capture_output=True).returncode != 0:
        for name in names:
            subprocess.run(["rm", "-rf", SCRATCH / name], check=True)
            subprocess.run(["cp", "-a", ROOT / name, SCRATCH / name], check=True)
        return
    subprocess.run(command + [ROOT / name for name in names] + [f"{SCRATCH}/"], check=True)


def lay_edits():
    for edit in tomllib.loads((HERE / "edits.toml").read_text())["edit"]:
        path = SCRATCH / edit["file"]
        text = path.read_text()
        if text.count(edit["old"]) != 1:
            sys.exit(f"{edit['file']}: this occurs {text.count(edit['old'])} times:\n{edit['old']}")
        new = re.sub(r"MUTATED_(\d+)", r"crate::mutated(\1)", edit["new"])
        path.write_text(text.replace(edit["old"], new))
    library = SCRATCH / "src" / "lib.rs"
    library.write_text(library.read_text() + SWITCH)


def build():
    command = ["cargo", "test", "--test", "conformance", "--no-run", "--message-format=json", "-j2"]
    done = subprocess.run(command, cwd=SCRATCH, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        for line in done.stdout.splitlines():
            message = json.loads(line).get("message") if line.startswith("{") else None
            if message and message.get("level") == "error":
                print(message["rendered"])
        sys.exit("the edits do not compile")
    for line in done.stdout.splitlines():
        item = json.loads(line) if line.startswith("{") else {}
        if item.get("target", {}).get("name") == "conformance" and item.get("executable"):
            return item["executable"]
    sys.exit("there is no test program")


def passes(program, test, mutation):
    environment = dict(os.environ, MILLRACE_MUTATION=str(mutation), RUST_BACKTRACE="0")
    command = [program, "--exact", test, "--include-ignored"]
    try:
        done = subprocess.run(
            command, cwd=SCRATCH, env=environment, capture_output=True, text=True, timeout=TEST_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False, "not over in time"
    if "1 passed" not in done.stdout and "1 failed" not in done.stdout:
        sys.exit(f"{test} was not run:\n{done.stdout}{done.stderr}")
    lines = (done.stdout + done.stderr).splitlines()
    at = next((at for at, line in enumerate(lines) if "panicked at" in line), None)
    why = " ".join(line.strip() for line in lines[at + 1 : at + 4]) if at is not None else ""
    return done.returncode == 0, why[:160]


def main():
    copy()
    lay_edits()
    program = build()
    rows = [line.split("\t") for line in (HERE / "rows.tsv").read_text().splitlines()]
    results, bad = [], 0
    for number, (statement, test, demands) in enumerate(rows, 1):
        if ONLY and number not in ONLY:
            continue
        sound, said = passes(program, test, 0)
        survives, why = passes(program, test, number)
        verdict = "noticed" if sound and not survives else "NOT NOTICED"
        if not sound:
            verdict, why = "FAILS WITHOUT IT", said
        bad += verdict != "noticed"
        print(f"{number:2} {verdict:16} {statement:18} {test}: {why}", flush=True)
        results.append(
            {
                "number": number,
                "statement": statement,
                "demands": demands,
                "test": test,
                "passes_without": sound,
                "fails_with": not survives,
                "said": why,
            }
        )
    print(f"{len(results) - bad} passed, {bad} failed")
    if not ONLY:
        record(results, bad)
    sys.exit(1 if bad else 0)


def record(results, bad):
    sys.path.insert(0, str(ROOT / "scripts"))
    from record import write

    measured = {"rows": len(results), "noticed": len(results) - bad, "list": results}
    limits = [("noticed", "=", len(results))]
    write(ROOT, "mutations", sys.argv, measured, limits, COMMIT, seconds=round(time.time() - BEGUN))


main()
