"""Self-check of a base model from the command line: a table of the checks, and the tokens of an example."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lima import config, storage
from lima.errors import LimaError

if TYPE_CHECKING:  # both load torch
    from lima.training.selfcheck import Check
    from lima.training.tokenization import Encoded

SUPERVISED, PLAIN, END = "\x1b[32m", "\x1b[2m", "\x1b[0m"  # green, dim


class UnknownModel(LimaError):
    """A name that is neither a key of params.yaml's models nor a folder."""


def check(model: str, p: config.Params, *, colour: bool) -> tuple[str, bool]:
    """The rendered checks and example of a model, and whether all checks passed.

    Args:
        model: A key of params.yaml's models, or a local folder in Hugging Face's form.
        p: Its `train` section is the recipe that the model is prepared for.
        colour: Mark the supervised tokens by colour instead of brackets.
    """
    from lima.training import launch, selfcheck

    with _folder(model, p) as folder:
        ready, tokenizer, eot_id = launch.starting_point(folder, p.train)
        checks = selfcheck.run(ready, tokenizer, eot_id, recipe=p.train)
    example = selfcheck.encoded(tokenizer, eot_id)[0]
    text = f"{render(checks)}\n\n{render_example(example, tokenizer, colour=colour)}"
    return f"{model}: {type(ready).__name__}\n\n{text}", all(each.passed for each in checks)


@contextmanager
def _folder(model: str, p: config.Params) -> Iterator[Path]:
    """The model's folder; a model that the stage `base` has not written is written to a temporary one."""
    if model not in p.models:
        if not Path(model).is_dir():
            keys = ", ".join(sorted(p.models))
            raise UnknownModel(f"no model or folder {model!r}; models in params.yaml: {keys}")
        yield Path(model)
    elif storage.result_dir("base", model).is_dir():
        yield storage.result_dir("base", model)
    else:
        from lima.training import base_model

        with tempfile.TemporaryDirectory() as folder:
            base_model.write(p.models[model], Path(folder), seed=p.base.seed)
            yield Path(folder)


def render(checks: "Sequence[Check]") -> str:
    """A table, and for each failed check what to do."""
    rows = [("check", "expected", "got", "tolerance", "result")]
    rows += [(c.name, c.expected, c.got, c.tolerance, "passed" if c.passed else "FAILED") for c in checks]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    fixes = dict.fromkeys(f"{c.name}: {c.fix}" for c in checks if not c.passed)
    return "\n".join([*table, *fixes])


def render_example(example: "Encoded", tokenizer: Any, *, colour: bool) -> str:
    """The tokens of an example; those with a loss are green, or in brackets without colour."""
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
    """Line breaks and control characters as escapes."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
