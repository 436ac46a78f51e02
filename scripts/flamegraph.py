"""Folds the stacks of `perf script` (standard input) into a flame graph and a table of functions."""

import argparse
import re
import sys
from collections import Counter
from html import escape
from pathlib import Path

WIDTH, ROW_HEIGHT, LEAST_WIDTH = 1400, 17, 0.4
FUNCTIONS_LISTED = 40
# A sample without stack is one line that begins with its thread.
FRAME = re.compile(r"\s+(?:(?P<thread>\S+)\s+)?[0-9a-f]{6,16} (?P<name>.*) \((?P<dso>[^()]*|\[[^]]*\])\)$")
COLOURS = {"kernel": "#e8b07a", "broker": "#e8755a", "other": "#d9c76b"}


def stacks(lines):
    """Each sample from its outermost to its innermost function, as (name, kind)."""
    frames = []
    for line in lines:
        if not line.strip():
            if frames:
                yield tuple(reversed(frames))
            frames = []
        elif match := FRAME.match(line):
            frame = (short(match["name"]), kind(match["dso"]))
            if match["thread"]:
                yield (frame,)
            else:
                frames.append(frame)
    if frames:
        yield tuple(reversed(frames))


def short(name):
    name = re.sub(r"\+0x[0-9a-f]+$|::h[0-9a-f]{16}$", "", name)
    name = re.sub(r"<impl ([^<>]+)>::", "", name)
    return name.replace("millrace::", "")


def kind(dso):
    if "kernel" in dso or dso.startswith("["):
        return "kernel"
    return "broker" if dso.endswith("broker") else "other"


def draw(counts, total, title):
    root = {}
    for stack, count in counts.items():
        level = root
        for frame in stack:
            node = level.setdefault(frame, [0, {}])
            node[0] += count
            level = node[1]
    boxes, deepest = [], 0
    pending = [(root, 0.0, 0)]
    while pending:
        level, x, depth = pending.pop()
        for (name, what), (count, below) in sorted(level.items()):
            width = WIDTH * count / total
            if width >= LEAST_WIDTH:
                boxes.append((x, depth, width, name, what, count))
                deepest = max(deepest, depth)
                pending.append((below, x, depth + 1))
            x += width
    height = (deepest + 3) * ROW_HEIGHT
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
           'font-family="monospace" font-size="11">',
           f'<text x="4" y="13">{escape(title)}: {total} samples</text>']
    for x, depth, width, name, what, count in boxes:
        y = height - (depth + 1) * ROW_HEIGHT
        label = escape(name[: int(width / 6.7)]) if width > 20 else ""
        out.append(f'<g><title>{escape(name)} {100 * count / total:.2f}%</title>'
                   f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW_HEIGHT - 1}" '
                   f'fill="{COLOURS[what]}"/><text x="{x + 2:.1f}" y="{y + 12}">{label}</text></g>')
    return "\n".join(out + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arguments-of", metavar="ROW")
    parser.add_argument("--title", default="")
    parser.add_argument("--svg", type=Path)
    args = parser.parse_args()
    if args.arguments_of:
        sys.path.insert(0, str(Path(__file__).parent / "compare_peers"))
        import rows

        print(rows.BY_NAME[args.arguments_of].arguments)
        return
    counts = Counter(stacks(sys.stdin))
    total = sum(counts.values())
    if total == 0:
        sys.exit("no samples")
    own, kinds, inclusive = Counter(), Counter(), Counter()
    for stack, count in counts.items():
        own[stack[-1]] += count
        kinds[stack[-1][1]] += count
        for frame in set(stack):
            inclusive[frame] += count
    print(f"{total} samples: " + ", ".join(f"{k} {100 * c / total:.1f}%" for k, c in kinds.most_common()))
    print("  self    with callees")
    for frame, count in own.most_common(FUNCTIONS_LISTED):
        print(f"{100 * count / total:5.2f}%  {100 * inclusive[frame] / total:5.2f}%  {frame[1]:6}  {frame[0]}")
    args.svg.write_text(draw(counts, total, args.title))


main()
