"""Profiles: prepared versions of params.yaml for a laptop, for continuous integration and for the paper's model sizes.

`laptop` is a complete params.yaml. The other profiles contain differences only: a registry (models, sources,
source_filters, arms, ablations, contestants, evaluations, panels) replaces that of `laptop`, and so does an entry with
a `kind`; in other sections single keys are replaced.
"""

import io
from collections.abc import Callable, Collection, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from lima import jsonl
from lima.config import Params, check
from lima.config.entries import (
    EndpointContestant,
    FolderModel,
    GgufModel,
    RecordedAnnotator,
    RecordedContestant,
)
from lima.errors import LimaError

FOLDER = files(__name__)
WHOLE = "laptop"
PRETRAINED, GEMMA = "pretrained", "pretrained-gemma"
REGISTRIES = ("models", "sources", "source_filters", "arms", "ablations", "contestants", "evaluations", "panels")


class ProfileError(LimaError):
    """A profile does not exist, or would overwrite manual changes."""


class MissingPaths(LimaError):
    """Inputs that params.yaml names do not exist."""


def names() -> list[str]:
    return sorted(file.name.removesuffix(".yaml") for file in FOLDER.iterdir() if file.name.endswith(".yaml"))


@cache  # merging with comments kept takes a third of a second, and `use` compares with every profile
def compose(name: str) -> str:
    """Return the text of params.yaml for a profile, after validation."""
    if name not in names():
        raise ProfileError(f"profile not found: {name!r}; use one of {', '.join(names())}")
    if name == WHOLE:
        return _read(name)
    return overlay(_read(name), name=f"profile {name}")


def load(name: str) -> Params:
    """Return the parameters of a profile."""
    return check(YAML(typ="safe").load(compose(name)), name=f"profile {name}")


def overlay(changes: str, *, name: str, replaced: Collection[str] = ()) -> str:
    """Return the text of params.yaml for differences from `laptop`, after validation.

    Args:
        changes: YAML with the keys that differ; comments are kept.
        name: appears in error messages.
        replaced: names of further mappings that are replaced as a whole, like the registries.
    """
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True
    values = yaml.load(_read(WHOLE))
    _merge(values, yaml.load(changes), {*REGISTRIES, *replaced})
    check(YAML(typ="safe").load(_text(yaml, values)), name=name)
    return _text(yaml, values)


def use(name: str, *, force: bool, accept_gemma_terms: bool = False, target: Path = Path("params.yaml")) -> None:
    """Replace params.yaml by a profile.

    Args:
        accept_gemma_terms: the user accepts the terms of the model of the profile pretrained-gemma.

    Raises:
        ProfileError: the profile needs terms that are not accepted; or the file differs from every profile, so it was
            changed by hand, and `force` is False.
    """
    if name == GEMMA and not accept_gemma_terms:
        raise ProfileError(
            "Gemma 3 270M is under the Gemma Terms of Use, which also bind models fine-tuned from it: "
            "https://ai.google.dev/gemma/terms; if you accept them, run "
            f"`lima profile use {PRETRAINED} --accept-gemma-terms`"
        )
    text = compose(name)
    present = target.read_text(encoding="utf-8") if target.exists() else text
    if not force and present not in [compose(other) for other in names()]:
        raise ProfileError(f"{target} has manual changes; copy it, or discard them with --force")
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(target)


def create_annotation_files(params: Params, path_of: Callable[[str], Path]) -> list[Path]:
    """Create a file without annotations for each evaluation that has no file; return the new files.

    The stage judge depends on the file, whether or not people judge the evaluation.

    Args:
        path_of: returns the file of an evaluation.
    """
    missing = [path for key in params.evaluations if not (path := path_of(key)).exists()]
    for path in missing:
        jsonl.create(path)
    return missing


def check_paths(params: Params) -> None:
    """Check that every input that params.yaml names exists, before any stage runs.

    Raises:
        MissingPaths: Lists each path that does not exist with its key and the fix.
    """
    missing = [
        f"{key}: {path} does not exist; put {content} there or correct params.yaml"
        for key, path, content in _inputs(params)
        if "://" not in path and not Path(path).exists()  # addresses are checked when they are read
    ]
    if missing:
        inputs = "1 input that does not exist" if len(missing) == 1 else f"{len(missing)} inputs that do not exist"
        raise MissingPaths("\n  ".join([f"params.yaml names {inputs}:", *missing]))


def _inputs(params: Params) -> Iterator[tuple[str, str, str]]:
    """Yield key, path and content of each file or folder that params.yaml names and no stage writes."""
    for name, model in params.models.items():
        if isinstance(model, FolderModel | GgufModel):
            yield f"models.{name}.path", model.path, "the model"
    for name, source in params.sources.items():
        yield f"sources.{name}.dumps", source.dumps, "the dump"
    for name, contestant in params.contestants.items():
        if isinstance(contestant, RecordedContestant):
            yield f"contestants.{name}.reads", contestant.reads, "the recorded responses"
        elif isinstance(contestant, EndpointContestant):
            yield f"contestants.{name}.reads", contestant.reads, "a file"
    for name, panel in params.panels.items():
        for annotator, entry in panel.items():
            if isinstance(entry, RecordedAnnotator):
                yield f"panels.{name}.{annotator}.reads", entry.reads, "the recorded judgments"
    yield "filter.reviews", params.filter.reviews, "the decisions"
    yield "sample.likelihood.answers", params.sample.likelihood.answers, "recorded responses, or an empty file,"
    yield "filter.edits", params.filter.edits, "the edits"
    yield "mix.test_sets", params.mix.test_sets, "the test sets"


def _read(name: str) -> str:
    return FOLDER.joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def _merge(values: CommentedMap, changes: CommentedMap, replaced: Collection[str]) -> None:
    for key, value in changes.items():
        inner = values.get(key)
        whole = key in replaced or (isinstance(value, CommentedMap) and "kind" in value)
        if isinstance(value, CommentedMap) and isinstance(inner, CommentedMap) and not whole:
            _merge(inner, value, replaced)
            continue
        values[key] = value
        values.ca.items.pop(key, None)
        if key in changes.ca.items:
            values.ca.items[key] = changes.ca.items[key]


def _text(yaml: YAML, values: CommentedMap) -> str:
    out = io.StringIO()
    yaml.dump(values, out)
    return out.getvalue()
