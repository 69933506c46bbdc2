"""`lima check`: self-check of a base model, as a table of checks and the tokens of an example."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lima import config, storage
from lima.errors import LimaError

if TYPE_CHECKING:  # these import torch
    from lima.training.protocols import ChatTokenizer
    from lima.training.selfcheck import Check
    from lima.training.tokenization import Encoded

SUPERVISED, PLAIN, END = "\x1b[32m", "\x1b[2m", "\x1b[0m"  # green, dim


class UnknownModel(LimaError):
    """Raised for a name that is neither a model in params.yaml nor a folder."""


def check(model: str, params: config.Params, *, colour: bool) -> tuple[str, bool]:
    """Run the self-check of a model.

    Args:
        model: A key of `models` in params.yaml, or a folder in Hugging Face format.
        params: Its section `train` is the recipe that the model is checked for.
        colour: Mark the supervised tokens by colour instead of brackets.

    Returns:
        The checks and an example as text, and whether all checks passed.
    """
    from lima.training import launch, library_output, selfcheck

    library_output.reduce()
    with _folder(model, params) as folder:
        prepared, tokenizer, eot_id = launch.starting_point(folder, params.train)
        checks = selfcheck.run(prepared, tokenizer, eot_id, recipe=params.train)
    example = selfcheck.encoded(tokenizer, eot_id)[0]
    text = f"{render(checks)}\n\n{render_example(example, tokenizer, colour=colour)}"
    return f"{model}: {type(prepared).__name__}\n\n{text}", all(each.passed for each in checks)


@contextmanager
def _folder(model: str, params: config.Params) -> Iterator[Path]:
    """The model's folder; a temporary one if the stage `base` has not written the model."""
    if model not in params.models:
        if not Path(model).is_dir():
            keys = ", ".join(sorted(params.models))
            raise UnknownModel(f"model or folder not found: {model!r}; models in params.yaml: {keys}")
        yield Path(model)
    elif storage.result_dir("base", model).is_dir():
        yield storage.result_dir("base", model)
    else:
        from lima.training import base_model

        with tempfile.TemporaryDirectory() as folder:
            base_model.write(params.models[model], Path(folder), seed=params.base.seed)
            yield Path(folder)


def render(checks: "Sequence[Check]") -> str:
    """A table of the checks, and the advice of each failed check."""
    rows = [("check", "expected", "got", "tolerance", "result")]
    rows += [(c.name, c.expected, c.got, c.tolerance, "passed" if c.passed else "FAILED") for c in checks]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    fixes = dict.fromkeys(f"{c.name}: {c.fix}" for c in checks if not c.passed)
    return "\n".join([*table, *fixes])


def render_example(example: "Encoded", tokenizer: "ChatTokenizer", *, colour: bool) -> str:
    """The tokens of an example; supervised tokens are green, or in brackets without colour."""
    from lima.training.tokenization import IGNORED

    legend = "green: supervised, dim: not supervised" if colour else "[…]: supervised, others: not supervised"
    parts = []
    for token, label in zip(example.ids, example.labels, strict=True):
        text = _visible(tokenizer.decode([token]))
        if colour:
            parts.append(f"{PLAIN if label == IGNORED else SUPERVISED}{text}{END}")
        else:
            parts.append(text if label == IGNORED else f"[{text}]")
    return f"{len(parts)} tokens, {example.supervised} supervised ({legend}):\n{'·'.join(parts)}"


def _visible(text: str) -> str:
    """Escape line breaks and control characters."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
