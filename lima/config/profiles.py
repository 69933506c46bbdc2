"""Profiles: params.yaml for a laptop, for continuous integration, and for the paper's own sizes.

`laptop` is a whole params.yaml. The others say only what differs: a registry (models, sources, arms, contestants,
comparisons, annotators) they name replaces the laptop's, within every other section they replace single keys.
"""

import io
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from lima.config import Params, check
from lima.config.entries import EndpointContestant, FolderModel, GgufModel, RecordedContestant
from lima.errors import LimaError

FOLDER = Path("infra/profiles")
WHOLE = "laptop"
REGISTRIES = ("models", "sources", "arms", "contestants", "comparisons", "annotators")


class ProfileError(LimaError):
    """A profile that does not exist, or would overwrite what somebody changed by hand."""


class MissingPaths(LimaError):
    """Files or folders that params.yaml names as inputs of the pipeline and that do not exist."""


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def compose(name: str) -> str:
    """The text of params.yaml under a profile; checked before anyone gets it."""
    path = FOLDER / f"{name}.yaml"
    if name not in names():
        raise ProfileError(f"there is no profile {name!r} in {FOLDER}; there are {', '.join(names())}")
    if name == WHOLE:
        return path.read_text(encoding="utf-8")
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True
    values = yaml.load(FOLDER / f"{WHOLE}.yaml")
    _lay_over(values, yaml.load(path))
    check(YAML(typ="safe").load(_text(yaml, values)), name=str(path))
    return _text(yaml, values)


def use(name: str, *, force: bool, target: Path = Path("params.yaml")) -> None:
    """Write a profile over params.yaml; what differs from every profile was changed by hand and needs `force`."""
    text = compose(name)
    present = target.read_text(encoding="utf-8") if target.exists() else text
    if not force and present not in [compose(other) for other in names()]:
        raise ProfileError(f"{target} was changed by hand; keep a copy of it, or say --force to lose those changes")
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(target)


def check_paths(p: Params) -> None:
    """Check that every input that params.yaml names exists, before any stage runs.

    Raises:
        MissingPaths: Lists each path that does not exist with its key and the fix.
    """
    missing = [
        f"{key} names {path}, which does not exist; put {content} there or correct params.yaml"
        for key, path, content in _inputs(p)
        if not Path(path).exists()
    ]
    if missing:
        raise MissingPaths("\n  ".join([f"{len(missing)} of the inputs in params.yaml cannot be read:", *missing]))


def _inputs(p: Params) -> Iterator[tuple[str, str, str]]:
    """Each file or folder that params.yaml names and no stage writes: its key, its path and its content."""
    for name, model in p.models.items():
        if isinstance(model, FolderModel | GgufModel):
            yield f"models.{name}.path", model.path, "the model"
    for name, source in p.sources.items():
        yield f"sources.{name}.dumps", source.dumps, "the dump"
    for name, contestant in p.contestants.items():
        if isinstance(contestant, RecordedContestant):
            yield f"contestants.{name}.reads", contestant.reads, "the recorded responses"
        elif isinstance(contestant, EndpointContestant):
            yield f"contestants.{name}.reads", contestant.reads, "a file"
    yield "filter.edits", p.filter.edits, "the edits"
    yield "mix.test_sets", p.mix.test_sets, "the test sets"


def _lay_over(values: CommentedMap, differing: CommentedMap) -> None:
    for key, value in differing.items():
        inner = values.get(key)
        if isinstance(value, CommentedMap) and isinstance(inner, CommentedMap) and key not in REGISTRIES:
            _lay_over(inner, value)
            continue
        values[key] = value
        values.ca.items.pop(key, None)
        if key in differing.ca.items:
            values.ca.items[key] = differing.ca.items[key]


def _text(yaml: YAML, values: CommentedMap) -> str:
    out = io.StringIO()
    yaml.dump(values, out)
    return out.getvalue()
