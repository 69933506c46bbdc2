"""Typed parameters: params.yaml is read and validated here only."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lima.config.entries import (
    RULE_TASKS,
    Annotator,
    Arm,
    ArmContestant,
    BaseContestant,
    BaselineAnnotator,
    Contestant,
    Evaluation,
    Model,
    RecordedAnnotator,
    RulesAnnotator,
    Source,
)
from lima.config.section import Key, Section
from lima.config.sections import Base, Filter, Judge, Mix, Prompts, Report, Sample, Scrape, Select, Train, Validate
from lima.config.tools import AnnotationSettings, CorpusLint, Dialogues
from lima.errors import LimaError

Entry = TypeVar("Entry")
# depth of an entry that is a discriminated union by `kind`, by the section that contains it
UNIONS = {"models": 2, "contestants": 2, "panels": 3, "select": 2}


class ParamsError(LimaError):
    """An unknown or missing key or an invalid value. The message names the key, its value and the fix."""


class Params(Section):
    """All of params.yaml."""

    profile: str
    models: dict[Key, Model]
    sources: dict[Key, Source]
    source_filters: dict[Key, dict[str, object]]
    arms: dict[Key, Arm]
    contestants: dict[Key, Contestant]
    ablations: dict[Key, list[str]]  # property → the arms that differ in it
    evaluations: dict[Key, Evaluation]
    panels: dict[Key, dict[Key, Annotator]]
    base: Base
    scrape: Scrape
    filter: Filter
    prompts: Prompts
    mix: Mix
    validate_: Validate = Field(alias="validate")
    train: Train
    select: Select
    sample: Sample
    judge: Judge
    report: Report
    dialogues: Dialogues
    proofreading: CorpusLint
    annotation: AnnotationSettings

    def rules(self, source: str) -> Filter:
        """Return the filter section with the thresholds of a source; those of its reader are the default."""
        entry = self.sources[source]
        section = self.filter.of_reader(entry.reader)
        changes = {**self.source_filters[source], "prefilter": entry.prefilter or {}}
        merged = section.model_validate(_merged(section.model_dump(), changes))
        return self.filter.with_reader(entry.reader, merged)

    def baselines(self) -> dict[str, str]:
        """Return the rule of each baseline annotator, by its name in the panels."""
        return {
            name: annotator.rule
            for panel in self.panels.values()
            for name, annotator in panel.items()
            if isinstance(annotator, BaselineAnnotator)
        }

    def rule_annotators(self) -> set[str]:
        """Return the names of the annotators that are rules."""
        return {
            name
            for panel in self.panels.values()
            for name, annotator in panel.items()
            if isinstance(annotator, RulesAnnotator)
        }

    def of_arm(self, arm: str) -> Self:
        """Return a copy for the training of an arm: `train.seed` is the arm's training seed, if it has one."""
        seed = self.arms[arm].train_seed
        return self if seed is None else self.model_copy(update={"train": self.train.model_copy(update={"seed": seed})})

    def data_seed(self, arm: str) -> int:
        """Return the seed that draws an arm's examples. The held-out set is always drawn with `mix.seed`."""
        seed = self.arms[arm].data_seed
        return self.mix.seed if seed is None else seed

    def repetitions(self, arm: str) -> list[str]:
        """Return the arms with the recipe of an arm, which differ in their seeds only; the arm is one of them."""
        recipe = self.arms[arm].recipe()
        return [name for name, other in self.arms.items() if other.recipe() == recipe]

    def uncompared_arms(self) -> dict[str, str]:
        """Return the arms without a pairwise evaluation, each with a warning that names what to add."""
        compared = {name for e in self.evaluations.values() if e.task == "pairwise" for name in (e.contestant, e.rival)}
        contestants: dict[str, list[str]] = {arm: [] for arm in self.arms}
        for name, contestant in self.contestants.items():
            if isinstance(contestant, ArmContestant):
                contestants[contestant.arm].append(name)
        return {
            arm: f"arm {arm} has no comparison; add "
            + (f"a comparison of the contestant {names[0]}" if names else "a contestant for it and a comparison")
            + " to evaluations in params.yaml"
            for arm, names in contestants.items()
            if compared.isdisjoint(names)
        }

    @model_validator(mode="after")
    def references_exist(self) -> Self:
        known: dict[str, Mapping[str, object]] = {
            "models": self.models,
            "sources": self.sources,
            "arms": self.arms,
            "contestants": self.contestants,
            "panels": self.panels,
        }
        named = [("train.model", "models", self.train.model)]
        named += [("mix.held_out", "sources", name) for name in self.mix.held_out]
        named += [("mix.most_per_site", "sources", name) for name in self.mix.most_per_site]
        for part, sets in (
            ("dev", self.prompts.dev),
            ("test", self.prompts.test),
            ("adversarial", self.prompts.adversarial),
            ("dialogues", self.prompts.dialogues),
        ):
            named += [(f"prompts.{part}", "sources", name.split("/")[0]) for name in sets]
        for arm, a in self.arms.items():
            named += [(f"arms.{arm}.examples", "sources", source) for source in a.examples]
        for axis, arms in self.ablations.items():
            named += [(f"ablations.{axis}", "arms", arm) for arm in arms]
        for name, contestant in self.contestants.items():
            if isinstance(contestant, ArmContestant):
                named.append((f"contestants.{name}.arm", "arms", contestant.arm))
            if isinstance(contestant, BaseContestant):
                named.append((f"contestants.{name}.model", "models", contestant.model))
        for name, evaluation in self.evaluations.items():
            named.append((f"evaluations.{name}.contestant", "contestants", evaluation.contestant))
            named.append((f"evaluations.{name}.rival", "contestants", evaluation.rival))
            named.append((f"evaluations.{name}.panel", "panels", evaluation.panel))
        wrong = [
            f"{key}: {name!r} is not one of the {kind} ({', '.join(known[kind])}){_suggestion(name, known[kind])}"
            for key, kind, name in named
            if name not in known[kind]
        ]
        wrong += self._unsuitable_annotators()
        first, last = self.train.keep_epochs
        if not first <= self.select.first_epoch <= self.select.last_epoch <= last:
            wrong.append(
                f"select: epochs {self.select.first_epoch} to {self.select.last_epoch} are not within "
                f"train.keep_epochs, {first} to {last}; change first_epoch, last_epoch or keep_epochs"
            )
        wrong += self._wrong_thresholds()
        if wrong:
            raise ValueError("\n  ".join(wrong))
        return self

    def _wrong_thresholds(self) -> list[str]:
        """Messages for thresholds of single sources: missing or unknown entries, unknown keys, invalid values."""
        wrong = [
            f"source_filters.{name}: missing entry; add {name}: {{}}, or the thresholds of this source only"
            for name in self.sources
            if name not in self.source_filters
        ]
        wrong += [
            f"source_filters.{name}: {name!r} is not one of the sources ({', '.join(self.sources)})"
            f"{_suggestion(name, self.sources)}"
            for name in self.source_filters
            if name not in self.sources
        ]
        for name in self.sources.keys() & self.source_filters.keys():
            if "prefilter" in self.source_filters[name]:
                wrong.append(
                    f"source_filters.{name}.prefilter: the stage scrape applies it; move it to sources.{name}.prefilter"
                )
                continue
            try:
                self.rules(name)
            except ValidationError as error:
                wrong += [
                    f"{_location(_threshold_path(name, detail['loc']))}{_message(detail, ())}"
                    for detail in error.errors()
                ]
        return wrong

    def _unsuitable_annotators(self) -> list[str]:
        """Messages for annotators whose kind cannot judge the task of an evaluation."""
        wrong = []
        for name, evaluation in self.evaluations.items():
            for annotator, entry in self.panels.get(evaluation.panel, {}).items():
                if isinstance(entry, BaselineAnnotator) and evaluation.task != "pairwise":
                    wrong.append(
                        f"panels.{evaluation.panel}.{annotator}: a baseline cannot judge the task {evaluation.task} of "
                        f"evaluation {name}; give the evaluation another panel"
                    )
                if isinstance(entry, RecordedAnnotator) and evaluation.task != "pairwise":
                    wrong.append(
                        f"panels.{evaluation.panel}.{annotator}: recorded judgments are about pairs, but the task of "
                        f"evaluation {name} is {evaluation.task}; give the evaluation another panel"
                    )
                if isinstance(entry, RulesAnnotator) and evaluation.task not in RULE_TASKS:
                    wrong.append(
                        f"panels.{evaluation.panel}.{annotator}: rules cannot judge the task {evaluation.task} of "
                        f"evaluation {name}, only {' and '.join(RULE_TASKS)}; give the evaluation another panel"
                    )
        return wrong


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and validate a params.yaml.

    Raises:
        ParamsError: the file is missing, is not valid YAML, or has an unknown, missing or invalid key.
    """
    try:
        values = YAML(typ="safe").load(path)
    except FileNotFoundError as error:
        raise ParamsError(
            f"{path} not found in {Path.cwd()}; change to a project, or create one: from your dumps with "
            "`lima init DUMP`, in a clone with `lima profile use laptop`"
        ) from error
    except YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8: {error}; save it as UTF-8") from error
    return check(values, name=str(path))


def check(values: object, *, name: str) -> Params:
    """Validate a loaded YAML document; `name` appears in error messages.

    Raises:
        ParamsError: a key is unknown, missing or invalid.
    """
    if not isinstance(values, dict):
        shown = "is empty" if values is None else f"is not a mapping of sections: {_shown(values)}"
        raise ParamsError(f"{name} {shown}; `lima profile use laptop --force` writes a complete one")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n  ".join([f"{name} is invalid:", *_messages(error)])) from error


def entry(registry: Mapping[str, Entry], kind: str, name: str, *, place: str = "params.yaml") -> Entry:
    """Return one entry of a registry, which `place` contains.

    Raises:
        ParamsError: the name is unknown; the message lists the known ones.
    """
    if name not in registry:
        raise ParamsError(f"unknown {kind}: {name!r}; {place} has {', '.join(registry)}{_suggestion(name, registry)}")
    return registry[name]


def warn_if_uncompared(arm: str, params: Params) -> None:
    """Print one line to stderr if no comparison has a contestant for this arm."""
    if warning := params.uncompared_arms().get(arm):
        print(f"warning: {warning}", file=sys.stderr)


def _merged(values: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Merge nested mappings; `changes` take precedence."""
    merged = dict(values)
    for key, value in changes.items():
        earlier = values.get(key)
        merged[key] = _merged(earlier, value) if isinstance(value, Mapping) and isinstance(earlier, Mapping) else value
    return merged


def _threshold_path(source: str, path: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the key of params.yaml that sets a threshold of one source."""
    return ("sources", source, *path) if path[:1] == ("prefilter",) else ("source_filters", source, *path)


def _messages(error: ValidationError) -> list[str]:
    missing = [e["loc"] for e in error.errors() if e["type"] == "missing"]
    return [f"{_location(e['loc'])}{_message(e, missing)}" for e in error.errors()]


def _message(error: ErrorDetails, missing: Sequence[tuple[int | str, ...]]) -> str:
    """Describe a problem and its fix. An unknown key is compared with the missing keys of its section."""
    *section, key = error["loc"] or ("",)
    match error["type"]:
        case "missing":
            return "missing key; add it, no parameter has a default"
        case "extra_forbidden":
            wanted = [str(loc[-1]) for loc in missing if loc[:-1] == tuple(section)]
            similar = get_close_matches(str(key), wanted, n=1)
            fix = f"rename it to {similar[0]}, which is missing" if similar else "remove it"
            return f"unknown key with the value {_shown(error['input'])}; {fix}"
        case "union_tag_invalid":
            tag, known = error["ctx"]["tag"], re.findall(r"'([^']+)'", error["ctx"]["expected_tags"])
            return f"unknown kind: {tag!r}; use one of {', '.join(known)}{_suggestion(tag, known)}"
        case "union_tag_not_found":
            return f"missing key: kind, in {_shown(error['input'])}; add it"
        case "value_error":
            return str(error["ctx"]["error"])  # raised by the models here; its text contains the value
        case _:
            return f"{error['msg']}, not {_shown(error['input'])}"


def _location(loc: tuple[str | int, ...]) -> str:
    """Dotted path of a key and a colon; "" for the whole file. Drops the union tag and "[key]" that pydantic adds."""
    path = [str(part) for part in loc]
    if path[-1:] == ["[key]"]:
        path = path[:-2]
    depth = UNIONS.get(path[0], len(path)) if path else 0
    if len(path) > depth and path[:2] != ["select", "decoding"]:
        del path[depth]
    return f"{'.'.join(path)}: " if path else ""


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
