"""Lineage: from an answer or a training example back to checkpoint, training set, validation and raw record.

Ids: a training or held-out example and a prompt have the id SOURCE/SITE/ID; an answer has the id
CONTESTANT:PROMPT_ID, or CONTESTANT:PROMPT_ID#SAMPLE.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from lima import jsonl, mlflow_runs, storage
from lima.config import Params
from lima.config.entries import ArmContestant, BaseContestant, EndpointContestant, RecordedContestant
from lima.curation import origins
from lima.display import visible_line
from lima.errors import LimaError
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.records import Dropped, Example, Judgment, Prompt, Provenance, Response, ValidationResult
from lima.sources import json_rows, registry
from lima.sources.base import DumpError, ReadStats, digest

LINES = (".jsonl", ".ndjson", ".json", ".gz", ".zst")  # files with one record per line, plain or compressed
PROMPTS = ("dev", "test", "adversarial", "dialogues")
SHOWN = 100  # characters of a text
WHOLE_BYTES = 2**26  # bytes; a larger file is not compared as a whole


class UnknownId(LimaError):
    """No example, prompt or answer has the id."""


@dataclass
class Lineage:
    """Lines of a trace, by section."""

    sections: dict[str, list[str]] = field(default_factory=dict)

    def add(self, section: str, *lines: str) -> None:
        self.sections.setdefault(section, []).extend(lines)

    def render(self) -> str:
        """Format as text, one section after the other."""
        blocks = [
            "\n".join([title, *(f"  {visible_line(line)}" for line in lines)]) for title, lines in self.sections.items()
        ]
        return "\n".join(blocks)


def trace(params: Params, id_: str) -> Lineage:
    """Trace an answer, an example or a prompt.

    Raises:
        UnknownId: no stage has written a record with this id.
    """
    name, separator, rest = id_.partition(":")
    if separator and name in params.contestants:
        return _answer(params, name, rest)
    if separator and "/" not in name:
        raise UnknownId(f"unknown contestant in {id_}: {name}; use one of {', '.join(params.contestants)}")
    return _record(params, id_)


def _answer(params: Params, contestant: str, rest: str) -> Lineage:
    prompt_id, _, sample = rest.partition("#")
    lineage = Lineage()
    responses = [
        r for r in _responses(contestant) if r.prompt_id == prompt_id and (not sample or str(r.sample) == sample)
    ]
    if not responses:
        answered = list(dict.fromkeys(response.prompt_id for response in _responses(contestant)))
        raise UnknownId(
            f"{contestant} has no answer {rest} in {storage.result_dir('sample', contestant)}"
            f"{_suggestion(prompt_id, answered)}; the id of an answer is CONTESTANT:PROMPT_ID#SAMPLE"
        )
    for response in responses:
        lineage.add(
            "answer",
            f"{contestant}, sample {response.sample}{_turn(response)}, ended by {response.finish}: "
            f"{_short(response.text)}",
        )
    for evaluation, judgment in _judgments(params, contestant, prompt_id):
        outcome = judgment.value or f"no value ({judgment.reason})"
        against = f" against {judgment.rival}" if judgment.rival else ""
        lineage.add("judgments", f"{evaluation}, {judgment.annotator}: {judgment.contestant}{against}: {outcome}")
    match params.contestants[contestant]:
        case ArmContestant(arm=arm):
            _checkpoint(params, lineage, arm)
        case BaseContestant(model=model):
            lineage.add("checkpoint", f"{storage.result_dir('base', model)}: {params.models[model]}, not fine-tuned")
        case RecordedContestant(reads=path):
            lineage.add("recording", path)
        case EndpointContestant(url=url, model=model):
            lineage.add("endpoint", f"{model} at {url}")
    _prompt(params, lineage, prompt_id)
    return lineage


def _record(params: Params, id_: str) -> Lineage:
    """Trace an example or a prompt."""
    lineage = Lineage()
    examples = [found for arm in params.arms for found in _examples(arm, id_)]
    for arm, split, row, _ in examples:
        file = storage.result_dir("mix", arm) / f"{split}.jsonl"
        lineage.add("training set", f"arm {arm}: {file}:{row}")
        if split == "train":
            _validation(lineage, arm)
            _checkpoint(params, lineage, arm, validated=False)
    if examples:
        _origin(params, lineage, id_, examples[0][3].provenance)
        return lineage
    if _prompt(params, lineage, id_):
        return lineage
    known = [example.id for arm in params.arms for _, _, _, example in _examples(arm, None)]
    known += [prompt.id for _, _, prompt in _prompts()]
    dropped = _dropped(params, id_)
    if dropped:
        stage, record = dropped
        raise UnknownId(
            f"{id_} is in no arm and no prompt set: {stage} dropped it ({record.reason}: {record.detail}); see "
            f"{storage.result_dir(stage)}"
        )
    raise UnknownId(
        f"unknown id: {id_}; no example of {', '.join(params.arms)}, no prompt and no answer has it"
        f"{_suggestion(id_, known)}"
    )


def _checkpoint(params: Params, lineage: Lineage, arm: str, *, validated: bool = True) -> None:
    """Checkpoint, training run and training set of an arm."""
    path = storage.result_dir("select", arm) / "chosen.json"
    if path.exists():
        [chosen] = jsonl.read(path, SelectedCheckpoint)
        lineage.add("checkpoint", f"arm {arm}: {chosen.checkpoint}, SHA-256 of its weights {chosen.digest}")
    trained = storage.result_dir("train", arm)
    if not (trained / "run.json").exists():
        lineage.add("checkpoint", f"arm {arm} is not trained; run `dvc repro train@{arm}`")
        return
    run = mlflow_runs.read(trained)
    commit = run.tags.get("mlflow.source.git.commit")
    changed = ", with uncommitted changes" if run.tags.get("git.dirty") == "true" else ""
    lineage.add(
        "training",
        f"arm {arm}: base model {run.parameters['model']}; {run.parameters['examples']} examples, "
        f"{run.parameters['train.epochs']} epochs, seed {run.parameters['seed.train']}",
        f"MLflow run {run.run_id or '– (MLflow was not available)'}"
        + (f", commit {commit}{changed}" if commit else ""),
    )
    if validated:
        file = storage.result_dir("mix", arm) / "train.jsonl"
        lineage.add("training set", f"arm {arm}: {file}, SHA-256 {run.tags['data']}")
        _validation(lineage, arm)


def _validation(lineage: Lineage, arm: str) -> None:
    path = storage.result_dir("validate", arm) / "gate.json"
    if not path.exists():
        lineage.add("validation", f"arm {arm}: missing; run `dvc repro validate@{arm}`")
        return
    [gate] = jsonl.read(path, ValidationResult)
    result = "passed" if gate.passed else f"failed: {len(gate.failures)} expectations"
    lineage.add("validation", f"arm {arm}: {result}, {gate.expectations} expectations ({path.parent}/docs/index.html)")


def _prompt(params: Params, lineage: Lineage, id_: str) -> bool:
    """Add the set and the origin of a prompt; False if no set has it."""
    for name, row, prompt in _prompts():
        if prompt.id == id_:
            file = storage.result_dir("prompts") / f"{name}.jsonl"
            lineage.add("prompt", f"{id_} in {file}:{row}: {_short(prompt.messages[-1].content)}")
            _origin(params, lineage, id_, prompt.provenance)
            return True
    return False


def _origin(params: Params, lineage: Lineage, id_: str, origin: Provenance) -> None:
    """Candidate, raw record, author and license."""
    lineage.add(
        "origin",
        f"source {origin.source}, site {origin.site}, id {origin.id}",
        f"author {origin.author or 'unknown'}; license {origin.license or 'unknown'}; {origin.url or 'no address'}",
        f"SHA-256 of the raw record {origin.digest}",
    )
    file = storage.result_dir("scrape", origin.source) / "candidates.jsonl"
    candidates = list(origins.candidates(origin.source, {id_})) if file.exists() else []
    if candidates:
        lineage.add("raw record", f"candidate {id_} in {file}")
    else:
        lineage.add("raw record", f"no candidate {id_} in {file}; run `dvc repro scrape@{origin.source}`")
    lineage.add("raw record", locate(params, id_, origin))


def locate(params: Params, id_: str, origin: Provenance) -> str:
    """Find the raw record of a candidate in the dumps: FILE:ROW, or the file with the record's id.

    The dumps are read again up to the record. Shards whose path has the name of the site are read first.
    """
    if origin.source not in params.sources:
        return f"the source {origin.source} is not in params.yaml"
    entry = params.sources[origin.source]
    root = Path(entry.dumps)
    if not root.exists():
        return f"the dumps are missing: {root}"
    read = registry.reader(entry.reader, root=root)
    shards = sorted(registry.pieces(entry.reader)(root), key=lambda shard: origin.site not in str(shard.dump))
    for shard in shards:
        try:
            records = read(shard.dump, source=origin.source, license=entry.license, tally=ReadStats())
            raw = next((r for r in records if not isinstance(r, Dropped) and r.id == id_), None)
        except DumpError as error:
            return f"{shard.dump} cannot be read: {error}"
        if raw is None:
            continue
        changed = "" if raw.provenance.digest == origin.digest else "; its content has changed since scrape read it"
        files = list(dict.fromkeys(path for path in (shard.dump, *shard.beside) if path.is_file()))
        for path in files:
            if row := row_of(path, raw.provenance.digest, origin.id):
                return f"{path}{row}{changed}"
        return f"{shard.dump}, record {origin.id}{changed}"
    return f"no record {origin.id} in {root}; the dumps have changed since scrape read them"


def row_of(path: Path, wanted: str, id_: str) -> str:
    """ ":ROW" of the line with a digest, or of the row with an id in XML; " (whole file)" if the file has the digest.

    "" if neither is found, as in an archive.
    """
    if path.stat().st_size < WHOLE_BYTES and digest(path.read_bytes()) == wanted:
        return " (whole file)"
    if path.suffix.lower() == ".xml":
        element = re.compile(rb'<row\s(?:[^>]*\s)?Id="' + re.escape(id_.encode()) + rb'"')
        return next(
            (place.removeprefix(str(path)) for place, line in json_rows.lines(path) if element.search(line)), ""
        )
    if not path.name.lower().endswith(LINES):
        return ""
    return next((place.removeprefix(str(path)) for place, line in json_rows.lines(path) if digest(line) == wanted), "")


def _examples(arm: str, id_: str | None) -> Iterator[tuple[str, str, int, Example]]:
    """Arm, split, row and record of the examples with an id, or of all examples."""
    for split in ("train", "held_out"):
        path = storage.result_dir("mix", arm) / f"{split}.jsonl"
        if path.exists():
            for row, example in enumerate(jsonl.read(path, Example), start=1):
                if id_ in (None, example.id):
                    yield arm, split, row, example


def _prompts() -> Iterator[tuple[str, int, Prompt]]:
    for name in PROMPTS:
        path = storage.result_dir("prompts") / f"{name}.jsonl"
        if path.exists():
            for row, prompt in enumerate(jsonl.read(path, Prompt), start=1):
                yield name, row, prompt


def _responses(contestant: str) -> Iterator[Response]:
    for name in ("test", "adversarial", "dialogues"):
        path = storage.responses(contestant, name)
        if path.exists():
            yield from jsonl.read(path, Response)


def _judgments(params: Params, contestant: str, prompt_id: str) -> Iterator[tuple[str, Judgment]]:
    for name, evaluation in params.evaluations.items():
        if contestant in (evaluation.contestant, evaluation.rival):
            for path in sorted(storage.result_dir("judge", name).glob("*/judgments.jsonl")):
                for judgment in jsonl.read(path, Judgment):
                    if judgment.prompt_id == prompt_id and contestant in (judgment.contestant, judgment.rival):
                        yield name, judgment


def _dropped(params: Params, id_: str) -> tuple[str, Dropped] | None:
    """The stage that dropped a candidate, and the reason."""
    source = id_.split("/")[0]
    paths = [("filter", storage.result_dir("filter", source) / "dropped.jsonl")] if source in params.sources else []
    paths += [("mix", storage.result_dir("mix", arm) / "dropped.jsonl") for arm in params.arms]
    for stage, path in paths:
        if path.exists():
            for record in jsonl.read(path, Dropped):
                if record.place == id_:
                    return stage, record
    return None


def _suggestion(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _turn(response: Response) -> str:
    return f", response {response.turn + 1} of the dialogue" if response.turn else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
