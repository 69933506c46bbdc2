"""Run benchmarks by name, or all of them: `python -m benchmarks.run [NAME …]`; writes benchmarks/results/NAME.jsonl."""

import importlib
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
NAMES = sorted(
    path.stem
    for path in HERE.glob("*.py")
    if path.stem not in ("__init__", "agreement", "claims", "coverage", "run", "slices")
)


def main(*only: str) -> None:
    unknown = sorted(set(only) - set(NAMES))
    if unknown:
        sys.exit(f"error: there is no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    shown = Table("benchmark", "claim", "ours", "peer", "unit", "ratio", "target", "holds")
    for name in only or NAMES:
        print(f"measuring {name} …", file=sys.stderr)
        claims = list(importlib.import_module(f"benchmarks.{name}").measure())
        results = HERE / "results" / f"{name}.jsonl"
        results.parent.mkdir(exist_ok=True)
        results.write_text("".join(claim.model_dump_json() + "\n" for claim in claims), encoding="utf-8")
        for c in claims:
            numbers = (f"{c.ours:g}", f"{c.peer:g}", c.unit, f"{c.ratio:g}", c.target)
            shown.add_row(name, c.claim, *numbers, "yes" if c.holds else "no")
    Console(width=160).print(shown)


if __name__ == "__main__":
    main(*sys.argv[1:])
