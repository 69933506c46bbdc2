"""Add an arm to params.yaml, with its contestant, evaluations and ablations (LIMA §5).

Lines are inserted into the text, so that comments and all other lines keep their bytes. The result is parsed and
compared with the intended values before anything is written.
"""

import copy
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from lima import jsonl
from lima.config import Params, check, entry, load
from lima.config.entries import Arm, ArmContestant, Evaluation
from lima.config.section import usable_key
from lima.errors import LimaError

Entries = Mapping[str, Any]  # of params.yaml, before they are validated
ANNOTATIONS = Path("corpus/annotations")


class ArmError(LimaError):
    """An arm cannot be added. The message names the option and the fix."""


@dataclass(frozen=True)
class NewArm:
    """An arm as a copy of another one with changes; None: as in the copied arm."""

    name: str
    copied: str
    examples: Mapping[str, int] = field(default_factory=dict)  # by source; 0 removes a source
    pool: str | None = None
    order: str | None = None
    without: Sequence[str] | None = None
    data_seed: int | None = None
    train_seed: int | None = None
    axes: Sequence[str] = ()  # ablations that the arm becomes a part of


@dataclass(frozen=True)
class Added:
    """What was added to params.yaml, and the files that were created."""

    arm: str
    contestant: str
    evaluations: tuple[str, ...]
    axes: tuple[str, ...]
    files: tuple[Path, ...]


def add(new: NewArm, path: Path = Path("params.yaml")) -> Added:
    """Write the arm, its contestant and its evaluations, and an empty file of annotations for each evaluation.

    A repetition (equal recipe, other seeds) gets the evaluations and ablations of the copied arm, against repetitions
    with the same seeds where they exist. Another recipe gets a comparison with the copied arm, and the copied arm's
    evaluations of single responses.

    Raises:
        ArmError: the name exists, or the arm equals the copied one.
        ParamsError: the resulting params.yaml would be invalid; nothing is written.
    """
    params = load(path)
    text = path.read_text(encoding="utf-8")
    values = _parse(text)
    arm = _arm(new, params, values["arms"])
    contestant = {"kind": "arm", "arm": new.name, "reads": f"data/select/{new.name}"}
    is_repetition = params.arms[new.copied].recipe() == _validated(arm)
    evaluations = dict(
        _repeated(new, params, values["evaluations"])
        if is_repetition
        else _compared(new, params, values["evaluations"])
    )
    if not evaluations:
        raise ArmError(
            f"arm {new.copied} has no comparison to copy; add a pairwise evaluation of it to evaluations in {path}"
        )
    axes = [*new.axes]
    if is_repetition:
        axes += [axis for axis, arms in params.ablations.items() if new.copied in arms and axis not in axes]
    wanted = _with(values, new, arm, contestant, evaluations, axes)
    check(wanted, name=f"{path} with the arm {new.name}")
    for section, entries in (
        ("arms", {new.name: arm}),
        ("contestants", {new.name: contestant}),
        ("evaluations", evaluations),
    ):
        text = _insert(text, section, entries)
    for axis in axes:
        text = _join(text, axis, new)
    if _parse(text) != wanted:
        raise ArmError(f"{path} has a layout that cannot be extended; add the arm {new.name} by hand")
    return _write(path, text, new, list(evaluations), axes)


def counts(options: Sequence[str]) -> dict[str, int]:
    """Parse SOURCE=N options."""
    parsed = {}
    for option in options:
        source, _, number = option.partition("=")
        if not source or not number.isdecimal():
            raise ArmError(f"--examples is not SOURCE=N: {option!r}; write, for example, wikihow=2000")
        parsed[source] = int(number)
    return parsed


def table(params: Params) -> str:
    """Return a table of the arms: size, pool, seeds, ablations, and the rivals of pairwise evaluations."""
    rows = [("arm", "examples", "pool", "data seed", "train seed", "ablations", "compared with")]
    for name, arm in params.arms.items():
        own = set(_contestants(params, name))
        rivals = {
            other
            for e in params.evaluations.values()
            if e.task == "pairwise"
            for side, other in ((e.contestant, e.rival), (e.rival, e.contestant))
            if side in own
        }
        axes = [axis for axis, arms in params.ablations.items() if set(arms) & set(params.repetitions(name))]
        train_seed = params.of_arm(name).train.seed
        rows.append(
            (
                name,
                f"{sum(arm.examples.values()):,}",
                arm.pool,
                str(params.data_seed(name)),
                str(train_seed),
                ", ".join(axes) or "–",
                ", ".join(sorted(rivals)) or "nothing",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _write(path: Path, text: str, new: NewArm, evaluations: list[str], axes: list[str]) -> Added:
    """Create the annotation files, then replace params.yaml at once."""
    files = [ANNOTATIONS / f"{name}.jsonl" for name in evaluations]
    created = [file for file in files if not file.exists()]
    for file in created:
        jsonl.create(file)
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
    return Added(new.name, new.name, tuple(evaluations), tuple(axes), tuple(created))


def _arm(new: NewArm, params: Params, arms: Entries) -> dict[str, Any]:
    """The entry of the new arm."""
    entry(params.arms, "arm", new.copied)
    try:
        usable_key(new.name)
    except ValueError as error:
        raise ArmError(str(error)) from error
    for kind, registry in (("arm", params.arms), ("contestant", params.contestants)):
        if new.name in registry:
            raise ArmError(f"{kind} exists: {new.name}; choose another name")
    arm = copy.deepcopy(dict(arms[new.copied]))
    for source in new.examples:
        entry(params.sources, "source", source)
    arm["examples"] = {name: n for name, n in {**arm["examples"], **new.examples}.items() if n}
    changes = {
        "pool": new.pool,
        "order": new.order,
        "without": None if new.without is None else list(new.without),
        "data_seed": new.data_seed,
        "train_seed": new.train_seed,
    }
    arm |= {key: value for key, value in changes.items() if value is not None}
    same = [name for name, other in arms.items() if other == arm]
    if same:
        raise ArmError(f"arm {new.name} would equal arm {same[0]}; change a source, the pool, tags or a seed")
    return arm


def _validated(arm: Entries) -> Arm | None:
    try:
        return Arm.model_validate(arm).recipe()
    except ValidationError:
        return None  # `check` reports it with its location


def _contestants(params: Params, arm: str) -> list[str]:
    return [name for name, c in params.contestants.items() if isinstance(c, ArmContestant) and c.arm == arm]


def _repeated(new: NewArm, params: Params, entries: Entries) -> list[tuple[str, dict[str, Any]]]:
    """The evaluations of the copied arm, with the repetition in its place."""
    own = _contestants(params, new.copied)
    copied = params.arms[new.copied]
    seeds = tuple(
        given if given is not None else present
        for given, present in ((new.data_seed, copied.data_seed), (new.train_seed, copied.train_seed))
    )
    names = set(params.evaluations)
    added = []
    for name, evaluation in params.evaluations.items():
        sides = (evaluation.contestant, evaluation.rival)
        if set(sides).isdisjoint(own):
            continue
        first, second = (new.name if side in own else _with_seeds(params, side, seeds) for side in sides)
        key = _key(first, second, name, evaluation, sides, names)
        added.append((key, {**entries[name], "contestant": first, "rival": second}))
    return added


def _with_seeds(params: Params, contestant: str, seeds: tuple[int | None, ...]) -> str:
    """The contestant's repetition with these seeds, if there is one, else the contestant."""
    known = params.contestants[contestant]
    if isinstance(known, ArmContestant):
        for arm in params.repetitions(known.arm):
            if (params.arms[arm].data_seed, params.arms[arm].train_seed) == seeds and _contestants(params, arm):
                return _contestants(params, arm)[0]
    return contestant


def _compared(new: NewArm, params: Params, entries: Entries) -> list[tuple[str, dict[str, Any]]]:
    """A comparison with the copied arm for each template and panel, and its evaluations of single responses."""
    own = _contestants(params, new.copied)
    if not own:
        raise ArmError(f"arm {new.copied} has no contestant; add one to contestants, so that {new.name} is compared")
    concerned = {name: e for name, e in params.evaluations.items() if {e.contestant, e.rival} & set(own)}
    if not any(e.task == "pairwise" for e in concerned.values()):
        concerned |= {name: e for name, e in params.evaluations.items() if e.task == "pairwise"}
    names, measures = set(params.evaluations), set[tuple[str, ...]]()
    added = []
    for name, evaluation in concerned.items():
        measure = (evaluation.task, evaluation.template, evaluation.panel, evaluation.prompts)
        if measure in measures:
            continue
        measures.add(measure)
        sides = (evaluation.contestant, evaluation.rival)
        first, second = (new.name, own[0])
        if evaluation.task != "pairwise" and evaluation.contestant in own:
            second = evaluation.rival
        key = _key(first, second, name, evaluation, sides, names)
        added.append((key, {**entries[name], "contestant": first, "rival": second}))
    return added


def _key(first: str, second: str, source: str, evaluation: Evaluation, sides: tuple[str, str], names: set[str]) -> str:
    """A free name for an evaluation: both contestants, and the rest of the name of the evaluation it is a copy of."""
    rest = source.removeprefix("-".join(sides)).strip("-") if source.startswith("-".join(sides)) else ""
    if not rest and evaluation.task != "pairwise":
        rest = evaluation.task
    plain = "-".join(part for part in (first, second, rest) if part)
    for name in (plain, f"{plain}-{Path(evaluation.template).stem}", f"{plain}-{evaluation.panel}"):
        if name not in names:
            names.add(name)
            return name
    raise ArmError(f"evaluation exists: {plain}; remove it from evaluations, or choose another name for the arm")


def _with(
    values: Entries,
    new: NewArm,
    arm: Entries,
    contestant: Entries,
    evaluations: Entries,
    axes: Sequence[str],
) -> dict[str, Any]:
    """The values of params.yaml with all additions."""
    wanted = copy.deepcopy(dict(values))
    wanted["arms"][new.name] = arm
    wanted["contestants"][new.name] = contestant
    wanted["evaluations"] |= evaluations
    for axis in axes:
        wanted["ablations"].setdefault(axis, [new.copied]).append(new.name)
    return wanted


def _parse(text: str) -> Any:
    return YAML(typ="safe").load(text)


def _structure(text: str) -> CommentedMap:
    """The document with the line numbers of its keys."""
    document: CommentedMap = YAML().load(text)
    return document


def _insert(text: str, section: str, entries: Entries) -> str:
    """Insert entries, one line each, after the last entry of a section."""
    document = _structure(text)
    lines = text.splitlines(keepends=True)
    start = document.lc.key(section)[0]
    present = document[section]
    indent = present.lc.key(next(iter(present)))[1] if present else 2
    if not present:
        lines[start] = re.sub(r":\s*\{\s*\}", ":", lines[start], count=1)
    later = [document.lc.key(key)[0] for key in document if document.lc.key(key)[0] > start]
    end = min(later, default=len(lines))
    # comments and empty lines before the next section belong to that section
    last = max(n for n in range(start, end) if lines[n].strip() and not lines[n].startswith("#"))
    if not lines[last].endswith("\n"):
        lines[last] += "\n"
    lines[last + 1 : last + 1] = [f"{' ' * indent}{_line(name, value)}\n" for name, value in entries.items()]
    return "".join(lines)


def _join(text: str, axis: str, new: NewArm) -> str:
    """Append the arm to the list of an ablation, or add an ablation of the copied arm and the new one."""
    document = _structure(text)
    if axis not in document["ablations"]:
        return _insert(text, "ablations", {axis: [new.copied, new.name]})
    lines = text.splitlines(keepends=True)
    listed = document["ablations"][axis]
    name = _line("arm", new.name).removeprefix("arm: ")
    first, last = document["ablations"].lc.key(axis)[0], listed.lc.item(len(listed) - 1)
    if listed.fa.flow_style():
        end = next(n for n in range(last[0], len(lines)) if "]" in lines[n][last[1] if n == last[0] else 0 :])
        offset = lines[end].index("]", last[1] if end == last[0] else 0)
        lines[end] = f"{lines[end][:offset].rstrip()}, {name}{lines[end][offset:]}"
    else:
        assert last[0] > first
        lines.insert(last[0] + 1, f"{lines[last[0]].partition('-')[0]}- {name}\n")
    return "".join(lines)


def _line(name: str, value: object) -> str:
    """One line of YAML: a key with its value in flow style."""
    yaml = YAML()
    yaml.width, yaml.default_flow_style = 4096, True
    out = io.StringIO()
    yaml.dump({name: value}, out)
    return out.getvalue().strip().removeprefix("{").removesuffix("}")
