"""Fingerprint of the inputs of a training step: data, base model, recipe, code and libraries.

A saved training state is continued only if its fingerprint is unchanged. Modules and settings without effect on a step
(performance, checks, display) are excluded. So are the micro-batches and the number of processes: they change only the
order of summation and the elements that dropout drops.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import transformers
from pydantic import JsonValue

from lima.config.entries import Lora
from lima.config.sections import Train
from lima.records import Record

FORMAT = 1  # version of the saved states; a change invalidates earlier ones
MODULES_WITHOUT_EFFECT = frozenset(  # on a training step
    (
        "allocator",
        "base_model",
        "cost_formulas",
        "fingerprint",
        "host_memory",
        "state_files",
        "state_parts",
        "throughput",
        "disk_space",
        "selfcheck",
        "training_state",
        "protocols",
    )
)
SETTINGS_WITHOUT_EFFECT = frozenset(
    ("launch", "state_minutes", "micro_batch_tokens", "gradient_checkpointing", "max_loss")
)
SHOWN = 60  # characters of a value in messages

Value = TypeVar("Value")


class Fingerprint(Record):
    """Digests (SHA-256, hexadecimal), settings and versions, by name."""

    format: int
    data: dict[str, str]  # digests by file name
    base: dict[str, str]  # digests by file name
    recipe: dict[str, JsonValue]  # section train of params.yaml, and the arm's lora
    code: dict[str, str]  # digests by module of lima/training
    libraries: dict[str, str]  # versions


def compute(*, data: Iterable[Path], base: Iterable[Path], recipe: Train, lora: Lora | None = None) -> Fingerprint:
    """Fingerprint of a training run with the current code and libraries."""
    modules = Path(__file__).parent.glob("*.py")
    return Fingerprint(
        format=FORMAT,
        data={path.name: digest(path) for path in sorted(data)},
        base={path.name: digest(path) for path in sorted(base)},
        recipe=recipe.model_dump(mode="json", exclude=set(SETTINGS_WITHOUT_EFFECT))
        | {"lora": lora.model_dump(mode="json") if lora else None},
        code={
            path.name: code_digest(path.read_text())
            for path in sorted(modules)
            if path.stem not in MODULES_WITHOUT_EFFECT
        },
        libraries={
            "torch": str(torch.__version__),
            "transformers": str(transformers.__version__),
            "numpy": str(np.__version__),
        },
    )


def differences(old: Fingerprint, new: Fingerprint) -> list[str]:
    """Describe each difference: the file, the setting with both values, the module or the library."""
    texts = [f"format of saved states {old.format} → {new.format}"] if old.format != new.format else []
    texts += [f"data: {name} {_change(a, b)}" for name, a, b in _changed(old.data, new.data)]
    texts += [f"base model: {name} {_change(a, b)}" for name, a, b in _changed(old.base, new.base)]
    for name, a, b in _changed(old.recipe, new.recipe):
        setting = "the arm's lora" if name == "lora" else f"train.{name}"
        texts.append(f"{setting} {str(a)[:SHOWN]} → {str(b)[:SHOWN]}")
    texts += [f"code: lima/training/{name} {_change(a, b)}" for name, a, b in _changed(old.code, new.code)]
    texts += [f"{name} {a} → {b}" for name, a, b in _changed(old.libraries, new.libraries)]
    return texts


def _changed(old: dict[str, Value], new: dict[str, Value]) -> Iterator[tuple[str, Value | None, Value | None]]:
    for name in [*old, *(name for name in new if name not in old)]:
        if (name in old) != (name in new) or old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def _change(old: str | None, new: str | None) -> str:
    return "is new" if old is None else "is missing" if new is None else "changed"


def code_digest(source: str) -> str:
    """Digest of Python code without comments, docstrings and layout; independent of the Python version."""
    return hashlib.sha256(repr(_shape(ast.parse(source))).encode()).hexdigest()


def _shape(node: object) -> object:
    """A syntax tree as nested lists, without empty fields, which differ between Python versions."""
    if isinstance(node, list):
        return [_shape(part) for part in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and _has_docstring(node):
        fields["body"] = node.body[1:]
    return [type(node).__name__, [(name, _shape(part)) for name, part in fields.items() if part not in (None, [])]]


def _has_docstring(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return ast.get_docstring(node, clean=False) is not None


def digest(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
