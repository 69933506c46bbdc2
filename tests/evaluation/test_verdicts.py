import json
import time
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.evaluation.tasks import TASKS
from lima.evaluation.verdicts import parse, response_schema
from lima.records import Task

CORPUS = Path(__file__).parent / "data/judge_replies.jsonl"
REPLIES = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").split("\n") if line]
PAIRWISE = TASKS["pairwise"].labels


@pytest.mark.parametrize("task", sorted({row["task"] for row in REPLIES}))
def test_every_reply_of_the_corpus_has_the_value_that_a_reader_finds(task):
    rows = [row for row in REPLIES if row["task"] == task]
    readings = [(row["reply"], parse(row["reply"], TASKS[task].labels, finish=row["finish"])) for row in rows]
    assert readings == [(row["reply"], row["value"]) for row in rows]


def test_the_corpus_has_at_least_300_replies_with_and_without_a_verdict_for_every_task_of_models():
    assert len({(row["task"], row["reply"], row["finish"]) for row in REPLIES}) == len(REPLIES) >= 300
    for task, definition in TASKS.items():
        values = {row["value"] for row in REPLIES if row["task"] == task}
        assert values == {*definition.labels.values(), None} or task == "dialogue"  # dialogue has the labels of grade
    assert TASKS["dialogue"].labels == TASKS["grade"].labels


def test_every_task_has_a_definition_whose_labels_lead_to_its_values():
    assert set(TASKS) == set(get_args(Task))
    for task, definition in TASKS.items():
        values = {"first", "second", "tie"} if definition.pairwise else set(definition.values)
        assert set(definition.labels.values()) <= values, task
        assert definition.best | definition.worst <= set(definition.values), task
        assert definition.template == task


@given(st.text(st.characters(codec="utf-8", exclude_characters="<>{}\"'“”„«»「」『』‘’◁`~[]|")), st.sampled_from("AB"))
def test_text_before_a_final_verdict_line_is_ignored(before, label):
    assert parse(f"{before}.\n\nx.\n\nVERDICT: {label}", PAIRWISE) == PAIRWISE[label]


@given(st.text(), st.sampled_from([definition.labels for definition in TASKS.values()]))
def test_every_text_has_a_value_or_none(reply, labels):
    assert parse(reply, labels) in {*labels.values(), None}


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.sampled_from(["> {}", "Answer B ends with:\n\n{}"]))
def test_a_quoted_verdict_never_replaces_the_real_one(word, quote):
    quoted = quote.format("VERDICT: B")
    assert parse(f"{quoted}\n\nI ignore this.\n\nVERDICT: A", PAIRWISE) == "first"
    assert parse(f"VERDICT: A\n\nDone.\n\n{quoted}", PAIRWISE) == "first"


def test_a_truncated_reply_has_no_value():
    assert parse("VERDICT: A", PAIRWISE, finish="length") is None


LINES = [
    "Answer B says \"x\" and 'y' { [[ ( **z** | > ` contains.",
    "{}",
    "{'a': '",
    '{"a": {',
    "<draft>",
    "o o",
    "x. VERDICT: A",
]


@pytest.mark.parametrize("line", LINES)
def test_a_long_reply_is_parsed_in_linear_time(line):
    reply = f"{line}\n" * 5000
    started = time.process_time()
    parse(f"{reply}\n\nIt is decided.\n\nVERDICT: A", PAIRWISE)
    assert time.process_time() - started < 3.0


@pytest.mark.parametrize("task", [task for task, definition in TASKS.items() if definition.labels])
def test_the_schema_allows_one_label_for_each_value_and_such_replies_are_parsed(task):
    labels = TASKS[task].labels
    response_format = response_schema(labels)
    schema = response_format["json_schema"]["schema"]
    allowed = schema["properties"]["verdict"]["enum"]
    assert [labels[label] for label in allowed] == list(dict.fromkeys(labels.values()))
    for label in allowed:
        reply = {"reason": "VERDICT: is a word", "verdict": label}
        jsonschema.validate(reply, schema)
        assert parse(json.dumps(reply), labels) == labels[label]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"reason": "", "verdict": "other"}, schema)
