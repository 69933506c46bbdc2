"""Validate an arm's training set and the dev and test prompts: `python -m lima.stages.validate ARM`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lima import config, jsonl, storage
from lima.config.tools import CorpusLint
from lima.curation.prompt_selection import count_per_site
from lima.display import visible, visible_line
from lima.errors import LimaError, run_command
from lima.parallel import progress
from lima.records import Example, FailedExpectation, Prompt, ValidationResult, first_prompt
from lima.text import normalize, shingles
from lima.validation import Bounds, Split, check


class GateError(LimaError):
    """Validation failed (a table of the failures is printed before), or a file of the base model is missing."""


@storage.alone("validate")
def main(arm: str) -> None:
    params = config.load()
    examples = config.entry(params.arms, "arm", arm).examples
    mixed, prompts = storage.result_dir("mix", arm), storage.result_dir("prompts")
    train, held_out = (list(jsonl.read(mixed / f"{name}.jsonl", Example)) for name in ("train", "held_out"))
    scripts = ("dialogues",) if params.prompts.dialogues else ()
    rows = {name: list(jsonl.read(prompts / f"{name}.jsonl", Prompt)) for name in ("dev", "test", *scripts)}
    lint, base = params.proofreading, storage.result_dir("base", params.train.model)
    tokens = control_tokens(base)
    splits = {
        "train": Split(train, examples, True, ("held_out", *rows), near(train, rows, lint)),
        "held_out": Split(held_out, params.mix.held_out, True, tuple(rows), {}),  # its prompts are not used in tests
    }
    counts = {"dev": params.prompts.dev, "test": params.prompts.test, "dialogues": params.prompts.dialogues}
    for number, (name, asked) in enumerate(rows.items(), start=1):
        later = dict(list(rows.items())[number:])
        splits[name] = Split(
            asked,
            count_per_site(counts[name]),
            False,
            tuple(later),
            near(asked, later, lint),
            scripted=name in scripts,
            too_long=too_long(asked, base),
        )
    v = params.validate_
    bounds = Bounds(
        (1, v.max_prompt_chars),
        (v.min_response_chars, v.max_response_chars),
        params.train.eot_token,
        tokens,
    )
    with storage.publish("validate", arm) as folder, progress.phase(f"{arm}: validate"):
        expected, failures, warnings = check(splits, bounds, folder / "docs", key=normalize.comparison_key)
        gate = ValidationResult(
            arm=arm,
            passed=not failures,
            train_digest=hashlib.sha256((mixed / "train.jsonl").read_bytes()).hexdigest(),
            expectations=expected,
            failures=tuple(failures),
            warnings=tuple(warnings),
        )
        jsonl.write(folder / "gate.json", [gate])
    docs = storage.result_dir("validate", arm) / "docs" / "index.html"
    if warnings:
        show(warnings, "Warnings")
    if failures:
        show(failures, "Validation failed")
        raise GateError(
            f"validation failed for arm {arm}: {len(failures)} of {expected} expectations are not met, so training "
            f"cannot start; see {docs}, correct the rows or the filters and run `dvc repro` again"
        )
    print(f"{arm}: {expected} expectations met over {', '.join(splits)}; {docs}")


def near(
    rows: Sequence[Example | Prompt], prompt_splits: Mapping[str, Sequence[Prompt]], params: CorpusLint
) -> dict[str, str]:
    """Map ids of rows to the near-duplicate of their prompt in other splits, with the thresholds of corpus lint."""
    texts = {row.id: first_prompt(row) for row in rows}
    others = {f"{name}: {row.id}": first_prompt(row) for name, prompts in prompt_splits.items() for row in prompts}
    pairs = shingles.near_duplicates(texts, others, chars=params.shingle_chars, min_jaccard=params.max_jaccard)
    return {id_: f"{pair.second}, Jaccard {pair.jaccard:.2f}" for id_, pair in pairs.items()}


def control_tokens(base: Path) -> tuple[str, ...]:
    """Read the control tokens of a base model: special tokens, and those listed in its tokenizer configuration."""
    stored, settings = base / "tokenizer.json", base / "tokenizer_config.json"
    for path in (stored, settings, base / "config.json"):
        if not path.is_file():
            raise GateError(f"missing file {path}; run `dvc repro base@{base.name}` first")
    added = json.loads(stored.read_text(encoding="utf-8"))["added_tokens"]
    listed = json.loads(settings.read_text(encoding="utf-8")).get("chat_control_tokens") or ()
    return tuple(dict.fromkeys([*(token["content"] for token in added if token["special"]), *listed]))


def too_long(prompts: Sequence[Prompt], base: Path) -> dict[str, str]:
    """Map ids of the prompts whose texts alone fill the base model's context to their length.

    A token has at least one byte, so that only prompts with many bytes are tokenized.
    """
    settings = json.loads((base / "config.json").read_text(encoding="utf-8"))
    context = settings.get("text_config", settings).get("max_position_embeddings")
    texts = {prompt.id: "\n".join(turn.content for turn in prompt.messages) for prompt in prompts}
    candidates = {id_: text for id_, text in texts.items() if context and len(text.encode()) >= context}
    if not candidates:
        return {}
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_truncation()
    lengths = {id_: len(tokenizer.encode(text, add_special_tokens=False)) for id_, text in candidates.items()}
    return {id_: f"{length:,} tokens" for id_, length in lengths.items() if length >= context}


def show(failures: list[FailedExpectation], title: str) -> None:
    """Print failed expectations as a table, with one id per line for copying."""
    shown = Table("split", "expected", "observed", "ids of the rows", title=title, show_lines=True)
    for failure in failures:
        ids = "\n".join(map(visible_line, failure.ids)) or "the whole table"
        shown.add_row(*(Text(visible(cell)) for cell in (failure.split, failure.says, failure.observed, ids)))
    Console(stderr=True, width=max(100, Console(stderr=True).width)).print(shown)


if __name__ == "__main__":
    run_command(main)
