#!/usr/bin/env python3
"""Draws rows of docs/conformance.tsv: `draw.py [SEED [COUNT]]` prints `statement<TAB>test` lines.

Rows of clients only and rows without a test are not drawn from. The same seed draws the same rows as
long as the table is the same.
"""

import pathlib
import random
import sys

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 3
count = int(sys.argv[2]) if len(sys.argv) > 2 else 30
table = pathlib.Path(__file__).parents[2] / "docs" / "conformance.tsv"
rows = []
for line in table.read_text().splitlines():
    fields = line.split("\t")
    if line.startswith("#") or fields[0] == "version" or len(fields) < 5 or "::" not in fields[4]:
        continue
    rows.append((fields[0], fields[1], fields[3], fields[4].split(", ")[0]))
for version, statement, demands, test in random.Random(seed).sample(rows, count):
    print(f"{version} {statement}\t{test}\t{demands}")
