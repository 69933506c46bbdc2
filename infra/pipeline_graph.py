"""Draw the stages of dvc.yaml and their dependencies as docs/images/pipeline.svg; `make docs` runs it.

Boxes are stages, arrows are dependencies that no chain of other arrows implies. Dependencies on code are left out.
"""

import re
import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs/images/pipeline.svg"
CODE = "code"  # the stage on which every other stage depends
UNSHOWN = {"reader", "template", "reads"}  # placeholders in paths that name no input
PER_ROW = 5  # stages of the longest chain per row; every second row has the other stages
WIDTH, HEIGHT, GAP, ROW, MARGIN = 156, 82, 34, 106, 12  # pixels: box, space between boxes, distance of rows, edge
LINE_CHARS = 25  # characters of a line in a box

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.name { font-weight: 600; font-size: 15px }
.small { font-size: 11px; fill: #57606a }
rect { fill: #f6f8fa; stroke: #8c959f }
path { fill: none; stroke: #57606a; stroke-width: 1.5; marker-end: url(#arrow) }
marker path { fill: #57606a; stroke: none; marker-end: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9da7b1 }
  rect { fill: #21262d; stroke: #6e7681 }
  path { stroke: #9da7b1 }
  marker path { fill: #9da7b1 }
}
"""


def main() -> None:
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(svg(), encoding="utf-8")


def svg() -> str:
    """Return the picture of dvc.yaml with the contestants of params.yaml."""
    yaml = YAML(typ="safe")
    stages: dict[str, dict] = yaml.load(ROOT / "dvc.yaml")["stages"]
    contestants: dict[str, dict] = yaml.load(ROOT / "params.yaml")["contestants"]
    edges = reduced({name: inputs(stage, contestants) & stages.keys() for name, stage in stages.items()})
    positions = place({name: edges[name] for name in stages if name != CODE})
    positions[CODE] = (0, 1)
    width = 2 * MARGIN + PER_ROW * WIDTH + (PER_ROW - 1) * GAP
    height = 2 * MARGIN + max(row for _, row in positions.values()) * ROW + HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="Stages of the pipeline and their dependencies">',
        f"<style>{STYLE}</style>",
        '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker>',
        *(arrow(positions[before], positions[name]) for name, befores in edges.items() for before in sorted(befores)),
        *(part for name, stage in stages.items() for part in box(name, stage, positions[name])),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def inputs(stage: dict, contestants: dict[str, dict]) -> set[str]:
    """Stages whose outputs a stage reads. `${item.reads}` means the inputs of all contestants."""
    dependencies = stage.get("do", stage).get("deps", [])
    reads = [entry["reads"] for entry in contestants.values() if "reads" in entry]
    paths = [path for each in dependencies for path in (reads if each == "${item.reads}" else [each])]
    return {path.split("/")[1] for path in paths if path.startswith("data/")} - {CODE}


def reduced(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Transitive reduction: without the inputs of a stage that another of its inputs depends on."""

    def ancestors(name: str) -> set[str]:
        return {far for before in edges[name] for far in {before, *ancestors(before)}}

    return {name: befores - {far for b in befores for far in ancestors(b)} for name, befores in edges.items()}


def place(edges: dict[str, set[str]]) -> dict[str, tuple[int, int]]:
    """Column and row of each stage: the longest chain in even rows, another stage below the one before its user."""

    def chain(name: str) -> list[str]:
        return [*max((chain(before) for before in sorted(edges[name])), key=len, default=[]), name]

    longest = max((chain(name) for name in edges), key=len)
    places = {name: (index % PER_ROW, 2 * (index // PER_ROW)) for index, name in enumerate(longest)}
    for name in edges.keys() - places.keys():
        column, row = places[next(user for user in longest if name in edges[user])]
        places[name] = (column - 1, row + 1)
    return places


def corner(position: tuple[int, int]) -> tuple[int, int]:
    column, row = position
    return MARGIN + column * (WIDTH + GAP), MARGIN + row * ROW


def arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = corner(start), corner(end)
    middle = y1 + HEIGHT // 2
    if x1 < x2 and y1 == y2:
        return f'<path d="M{x1 + WIDTH} {middle}H{x2}"/>'
    if x1 < x2:
        return f'<path d="M{x1 + WIDTH} {middle}H{x2 + WIDTH // 2}V{y2 + HEIGHT}"/>'
    below = y2 - (ROW - HEIGHT) // 2
    return f'<path d="M{x1 + WIDTH // 2 + 20} {y1 + HEIGHT}V{below}H{x2 + WIDTH // 2}V{y2}"/>'


def box(name: str, stage: dict, position: tuple[int, int]) -> Iterator[str]:
    x, y = corner(position)
    key = re.sub(r"\W", "", stage.get("foreach", "")).removesuffix("s")
    lines = [f"one per {key}"] if key else []
    if files := external(stage):
        lines += textwrap.wrap(f"reads {', '.join(files)}", LINE_CHARS)
    if name == CODE:
        lines = ["digests of the modules,", "an input of every stage"]
    yield f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
    yield f'<text class="name" x="{x + 10}" y="{y + 21}">{escape(name)}</text>'
    for number, line in enumerate(lines):
        yield f'<text class="small" x="{x + 10}" y="{y + 39 + 16 * number}">{escape(line)}</text>'


def external(stage: dict) -> list[str]:
    """Inputs that are not code or results of other stages, by the last word of their placeholder or path."""
    names = []
    for path in stage.get("do", stage).get("deps", []):
        if path.startswith("corpus/"):
            names.append(path.split("/")[1])
        elif (match := re.fullmatch(r"\$\{[\w.]*?(\w+)\}", path)) and match[1] not in UNSHOWN:
            names.append(match[1].replace("_", " "))
    return names


if __name__ == "__main__":
    main()
