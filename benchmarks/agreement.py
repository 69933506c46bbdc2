"""Agreement on real human labels: `python -m benchmarks.agreement [FOLDER]` prints it as Markdown tables.

PandaLM's test set has three annotators for each comparison, Auto-J's one label for each pair, LLMBar pairs whose better
answer is certain. FOLDER has pandalm/, auto-j/ and llmbar/.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lima.evaluation.statistics.agreement import (
    agreement_without_ties,
    cohen_kappa,
    krippendorff_alpha,
    pairwise,
    tie_discounted_agreement,
)
from lima.evaluation.statistics.estimates import Estimate, NothingToMeasure

REAL = Path("../shared/realdata/preferences")
SETTINGS = {"confidence": 0.95, "resamples": 2000}
CODES = {0: 0.0, 1: 1.0, 2: -1.0}  # PandaLM: 0 tie, 1 and 2 the better response
PAIR_CODES = {0: 1.0, 1: -1.0, 2: 0.0}  # Auto-J: 0 and 1 the better response, 2 tie


class Pair(NamedTuple):
    prompt: str
    first: str
    second: str
    labels: dict[str, float]  # annotator → 1 (first is better), 0, −1


def pandalm(folder: Path) -> list[Pair]:
    rows = json.loads((folder / "pandalm/first_500.json").read_text(encoding="utf-8"))
    return [
        Pair(
            f"{row['instruction']}\n{row['input']}",
            str(row["response1"]),  # some are JSON booleans
            str(row["response2"]),
            {f"annotator {number}": CODES[row[f"annotator{number}"]] for number in (1, 2, 3)},
        )
        for row in rows
    ]


def auto_j(folder: Path) -> list[Pair]:
    lines = (folder / "auto-j/testdata_pairwise.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        Pair(row["prompt"], row["response 1"], row["response 2"], {"people": PAIR_CODES[row["label"]]})
        for row in map(json.loads, lines)
    ]


def llmbar(folder: Path) -> list[Pair]:
    rows = [row for path in sorted((folder / "llmbar").glob("*.json")) for row in json.loads(path.read_text("utf-8"))]
    return [
        Pair(row["input"], row["output_1"], row["output_2"], {"truth": 1.0 if row["label"] == 1 else -1.0})
        for row in rows
    ]


def longest(pair: Pair) -> float:
    return float(np.sign(len(pair.first) - len(pair.second)))


def always_tie(pair: Pair) -> float:
    return 0.0


def first(pair: Pair) -> float:
    return 1.0


BASELINES: dict[str, Callable[[Pair], float]] = {"longest": longest, "always-tie": always_tie, "always-first": first}


def between_people(pairs: list[Pair]) -> Iterator[str]:
    """Agreement of annotators of the same pairs, and the coefficients beyond chance."""
    names, prompts = list(pairs[0].labels), [pair.prompt for pair in pairs]
    items = {str(number): pair for number, pair in enumerate(pairs)}
    labels = {name: {item: pair.labels[name] for item, pair in items.items()} for name in names}
    yield "| annotators | comparisons | prompts | agreement, tie-discounted | without ties | Cohen's κ |"
    yield "|---|---|---|---|---|---|"
    agreements = pairwise(labels, {item: pair.prompt for item, pair in items.items()}, confidence=0.95)
    for (one, other), agreement in agreements.items():
        a, b = list(labels[one].values()), list(labels[other].values())
        kappa = cohen_kappa(a, b, prompts, rng=np.random.default_rng(1), **SETTINGS)
        decided = agreement_without_ties(a, b, prompts, confidence=0.95)
        shown = " | ".join(map(figure, (agreement, decided, kappa)))
        yield f"| {one}, {other} | {agreement.count} | {agreement.prompts} | {shown} |"
    for level in ("nominal", "ordinal"):
        rows = [list(labels[name].values()) for name in names]
        alpha = krippendorff_alpha(rows, prompts, level=level, rng=np.random.default_rng(1), **SETTINGS)
        yield f"| all, Krippendorff's α {level} | {len(pairs)} | {alpha.prompts} | {figure(alpha)} | | |"


def of_baselines(name: str, pairs: list[Pair], annotator: str) -> Iterator[str]:
    """Agreement of each baseline with the labels of one annotator."""
    truth, prompts = [pair.labels[annotator] for pair in pairs], [pair.prompt for pair in pairs]
    for baseline, rule in BASELINES.items():
        verdicts = [rule(pair) for pair in pairs]
        agreement = tie_discounted_agreement(truth, verdicts, prompts, confidence=0.95)
        try:
            decided = figure(agreement_without_ties(truth, verdicts, prompts, confidence=0.95))
        except NothingToMeasure:
            decided = "–"
        yield f"| {name} | {annotator} | {baseline} | {len(pairs)} | {figure(agreement)} | {decided} |"


def figure(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.interval.low:.3f}, {estimate.interval.high:.3f}]"


def main(folder: Path) -> None:
    if not folder.exists():
        sys.exit(f"error: folder not found: {folder}; pass the folder with pandalm/, auto-j/ and llmbar/")
    panda, pairs = pandalm(folder), auto_j(folder)
    print("\n".join(between_people(panda)))
    print("\n| labels | annotator | baseline | pairs | agreement, tie-discounted | without ties |")
    print("|---|---|---|---|---|---|")
    for name, rows in (("PandaLM", panda), ("Auto-J", pairs), ("LLMBar", llmbar(folder))):
        for line in of_baselines(name, rows, next(iter(rows[0].labels))):
            print(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REAL)
