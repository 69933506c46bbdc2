"""Export and import of annotations: JSON Lines, the JSON of Label Studio, and the JSON of Argilla's records.

Exported items carry the fields of an annotation as data or metadata, so that an import restores the record.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from lima import jsonl
from lima.annotation.questions import CONTROLS, Question, StudyEvaluation, recorded_value, shown_value
from lima.annotation.study import Study, import_annotations
from lima.errors import LimaError
from lima.evaluation.tasks import TASKS
from lima.jsonl import JsonObject
from lima.records import Annotation

Format = Literal["jsonl", "label-studio", "argilla"]
FIELDS = ("evaluation", "task", "prompt_id", "sample", "turn", "contestant", "rival", "texts")
NAME = "verdict"  # of the choice in Label Studio's configuration, and of Argilla's question


class ExchangeError(LimaError):
    """A file that cannot be imported or exported."""


def export(study: Study, name: str, out: Path, form: Format) -> int:
    """Write the annotations of an evaluation; items without an annotation are included in the forms of other tools.

    Returns:
        The number of annotations.
    """
    records = study.annotations(name)
    if form == "jsonl":
        return jsonl.write(out, records)
    if name not in study.evaluations:
        raise ExchangeError(f"{name} has live conversations, which {form} cannot represent; export them as jsonl")
    evaluation = study.evaluations[name]
    by_item: defaultdict[str, list[Annotation]] = defaultdict(list)
    for record in records:
        if record.kind == "main" and record.value is not None:
            by_item[record.texts + record.prompt_id + str(record.sample)].append(record)
    convert = _label_studio_task if form == "label-studio" else _argilla_record
    items = [convert(q, by_item[q.digest + q.prompt_id + str(q.sample)]) for q in evaluation.questions]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(items, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if form == "label-studio":
        out.with_suffix(".xml").write_text(_label_studio_config(evaluation), encoding="utf-8")
    return sum(map(len, by_item.values()))


def load(study: Study, path: Path) -> int:
    """Import annotations; the format is detected. Returns their number.

    Raises:
        ExchangeError: the file has another form, or an annotation has a value that its task does not have.
    """
    records = list(_records(path))
    for record in records:
        allowed = TASKS[record.task].values
        if record.value is not None and record.value not in allowed:
            raise ExchangeError(
                f"{path}: annotation {record.id} has the value {record.value!r}; the task {record.task} has "
                f"{', '.join(allowed)}"
            )
    return import_annotations(study, records)


def _is_jsonl(path: Path) -> bool:
    """Whether a file with another suffix begins like an export as JSONL."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        return jsonl.ID.match(file.readline(10_000)) is not None


def _records(path: Path) -> Iterable[Annotation]:
    if path.suffix == ".jsonl" or _is_jsonl(path):
        return jsonl.read(path, Annotation)
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(items, list) or not items:
            raise ExchangeError(f"{path}: no list of items; export JSON from Label Studio or Argilla")
        convert = _from_label_studio if "data" in items[0] else _from_argilla
        return [record for item in items for record in convert(item)]
    except FileNotFoundError as error:
        raise ExchangeError(f"{path} not found; correct the path") from error
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise ExchangeError(
            f"{path}: not an export of these items by Label Studio or Argilla ({type(error).__name__}: {error}); "
            "export items with `lima annotate export` and keep their data and metadata"
        ) from error


def _item(question: Question) -> dict[str, object]:
    values = {name: getattr(question, name) for name in FIELDS if name != "texts"}
    return {**values, "texts": question.digest, "first": question.contestant if question.rival else None}


def _texts(question: Question) -> dict[str, str]:
    turns = question.messages
    several = len(turns) > 1
    prompt = "\n\n".join(f"{turn.role}: {turn.content}" if several else turn.content for turn in turns)
    return {"prompt": prompt, **{f"answer_{n}": text for n, text in enumerate(question.texts, start=1)}}


def _annotation(item: JsonObject, *, shown: str | None, **values: object) -> Annotation:
    fields = {name: item[name] for name in FIELDS}
    question = Question(
        fields["evaluation"],
        fields["task"],
        fields["prompt_id"],
        fields["sample"],
        fields["turn"],
        (),
        fields["contestant"],
        fields["rival"],
        (),
    )
    first = item["first"]
    value = None if shown is None else recorded_value(question, shown, first=first)
    return Annotation.model_validate({**fields, "first": first, "value": value, **values})


def _shown(question: Question, record: Annotation) -> str:
    """The choice if the contestant's answer is shown first, as in exported items."""
    assert record.value is not None
    return shown_value(question, record.value, first=question.contestant)


# --- Label Studio ---


def _label_studio_task(question: Question, records: Sequence[Annotation]) -> dict[str, object]:
    return {
        "data": {**_texts(question), "item": _item(question)},
        "annotations": [
            {
                "unique_id": record.id,
                "completed_by": {"username": record.person},
                "lead_time": record.seconds,
                "created_at": record.time,
                "result": [
                    {
                        "from_name": NAME,
                        "to_name": "prompt",
                        "type": "choices",
                        "value": {"choices": [_shown(question, record)]},
                    },
                    *(
                        [
                            {
                                "from_name": "comment",
                                "to_name": "prompt",
                                "type": "textarea",
                                "value": {"text": [record.comment]},
                            }
                        ]
                        if record.comment
                        else []
                    ),
                ],
            }
            for record in records
        ],
    }


def _from_label_studio(task: JsonObject) -> list[Annotation]:
    item = task["data"]["item"]
    records = []
    for number, annotation in enumerate(task.get("annotations", [])):
        results = {result["from_name"]: result["value"] for result in annotation["result"]}
        skipped = annotation.get("was_cancelled", False)
        person = annotation["completed_by"]
        if isinstance(person, Mapping):
            person = person.get("username") or person.get("email") or person["id"]
        records.append(
            _annotation(
                item,
                shown=None if skipped else results[NAME]["choices"][0],
                id=annotation.get("unique_id") or f"label-studio-{task.get('id')}-{annotation.get('id', number)}",
                person=_pseudonym(person),
                reason="skipped in Label Studio" if skipped else "",
                comment="\n".join(results.get("comment", {}).get("text", [])),
                seconds=float(annotation.get("lead_time") or 0.0),
                time=_time(annotation["created_at"]),
            )
        )
    return records


def _label_studio_config(evaluation: StudyEvaluation) -> str:
    """The labelling interface for the exported tasks."""
    answers = 2 if evaluation.task == "pairwise" else 1
    control = CONTROLS[evaluation.task]
    texts = "".join(
        f'  <Header value="Answer {n}"/>\n  <Text name="answer_{n}" value="$answer_{n}"/>\n'
        for n in range(1, answers + 1)
    )
    choices = "".join(
        f'    <Choice value="{choice.value}" hotkey="{choice.key}" hint="{choice.label}"/>\n'
        for choice in control.choices
    )
    return (
        f'<View>\n  <Header value="Prompt"/>\n  <Text name="prompt" value="$prompt"/>\n{texts}'
        f'  <Header value="{control.question}"/>\n  <Choices name="{NAME}" toName="prompt" choice="single" '
        f'required="true">\n{choices}  </Choices>\n  <TextArea name="comment" toName="prompt"/>\n</View>\n'
    )


# --- Argilla ---


def _argilla_record(question: Question, records: Sequence[Annotation]) -> dict[str, object]:
    responses = [
        {"value": _shown(question, record), "user_id": record.person, "status": "submitted"} for record in records
    ]
    return {
        "id": question.id,
        "fields": _texts(question),
        "metadata": {
            **_item(question),
            "annotations": {record.person: [record.id, record.seconds, record.time] for record in records},
        },
        "suggestions": {},
        "responses": {NAME: responses} if responses else {},
        "vectors": {},
    }


def _from_argilla(item: JsonObject) -> list[Annotation]:
    metadata = item["metadata"]
    known = metadata.get("annotations", {})
    records = []
    for response in item["responses"].get(NAME, []):
        person = _pseudonym(response["user_id"])
        id_, seconds, time = known.get(person, (f"argilla-{item['id']}-{person}", 0.0, item.get("updated_at")))
        records.append(
            _annotation(
                metadata,
                shown=response["value"] if response.get("status", "submitted") == "submitted" else None,
                id=id_,
                person=person,
                reason="" if response.get("status", "submitted") == "submitted" else "skipped in Argilla",
                seconds=float(seconds),
                time=_time(time),
            )
        )
    return records


def _pseudonym(person: object) -> str:
    """Names and e-mail addresses of other tools are not stored: an address is shortened to the part before the @."""
    return str(person).partition("@")[0]


def _time(value: object) -> str:
    if not isinstance(value, str):
        return datetime.fromtimestamp(0).astimezone().isoformat()
    datetime.fromisoformat(value)
    return value
