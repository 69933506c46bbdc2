"""Simulated annotators with known error rates; export and import in the forms of other tools."""

import json
from itertools import product

import pytest
from sample_study import PLAIN, evaluation, study

from lima import jsonl
from lima.annotation import exchange
from lima.annotation.crowd import SimulatedPerson, fill, true_value
from lima.annotation.exchange import ExchangeError
from lima.annotation.quality import summarize
from lima.annotation.store import Store
from lima.annotation.study import Study
from lima.records import Annotation


def filled(folder, *evaluations, error=0.2, people=3, **changes):
    s = study(folder, *(evaluations or [evaluation(30)]), **{**PLAIN, **changes})
    fill(s, [SimulatedPerson(f"simulated-{n}", error) for n in range(people)], seed=5)
    return s


def test_simulated_people_err_at_their_rate_and_are_marked(tmp_path):
    s = filled(tmp_path, evaluation(200, task="grade"), quota=200, error=0.3)
    records = s.annotations("secret-evaluation")
    truth = {q.digest: true_value(q, 5) for q in s.evaluations["secret-evaluation"].questions}
    wrong = sum(record.value != truth[record.texts] for record in records) / len(records)
    # 600 judgments: 0.3 ± 3 standard errors of 0.019
    assert len(records) == 600 and abs(wrong - 0.3) < 0.056
    assert all(record.simulated for record in records)


def test_agreement_recovers_the_accuracy_of_the_annotators(tmp_path):
    statistics = pytest.importorskip("lima.evaluation.statistics.agreement")
    error, points = 0.2, {"win": 1, "tie": 0, "lose": -1}
    s = filled(tmp_path, evaluation(150), quota=150, people=2, error=error)
    votes = {}
    for record in s.annotations("secret-evaluation"):
        votes.setdefault(record.person, {})[record.prompt_id] = points[record.value]
    one, other = votes.values()
    items = sorted(one)
    estimate = statistics.tie_discounted_agreement(
        [one[i] for i in items], [other[i] for i in items], items, confidence=0.99
    )

    def chance(truth, value):
        return 1 - error if truth == value else error / 2

    def score(a, b):  # 1 if equal, ½ if exactly one is a tie, else 0
        return 1.0 if a == b else 0.5 if 0 in (a, b) else 0.0

    expected = sum(chance(t, a) * chance(t, b) * score(a, b) / 3 for t, a, b in product((1, 0, -1), repeat=3))
    assert estimate.interval.low <= expected <= estimate.interval.high


def test_a_crowd_of_random_choices_fails_attention_checks_and_repeats(tmp_path):
    s = filled(tmp_path, evaluation(60), quota=60, people=1, error=2 / 3, attention_every=5, repeat_every=5)
    (summary,) = summarize(s.annotations("secret-evaluation"), s.settings)
    assert summary.attention[0] / summary.attention[1] < 0.7 and "inattentive" in summary.flags
    assert summary.repeats[0] / summary.repeats[1] < 0.7


@pytest.mark.parametrize("form", ["jsonl", "label-studio", "argilla"])
@pytest.mark.parametrize("task", ["pairwise", "rating"])
def test_an_export_can_be_imported_without_loss(tmp_path, form, task):
    s = filled(tmp_path, evaluation(5, task=task))
    out = tmp_path / ("out.jsonl" if form == "jsonl" else "out.json")
    assert exchange.export(s, "secret-evaluation", out, form) == 15
    other = Study(s.evaluations.values(), Store(tmp_path / "other.sqlite"), s.settings)
    assert exchange.load(other, out) == 15

    def kept(record):
        return record.id, record.person, record.value, record.texts, record.prompt_id, record.seconds, record.time

    assert [kept(r) for r in other.annotations("secret-evaluation")] == [
        kept(r) for r in s.annotations("secret-evaluation")
    ]


def test_an_export_as_jsonl_is_recognised_by_its_content(tmp_path):
    s = filled(tmp_path / "a", evaluation(2), people=1)
    out = tmp_path / "out.json"
    assert exchange.export(s, "secret-evaluation", out, "jsonl") == 2
    assert exchange.load(study(tmp_path / "b", evaluation(2), **PLAIN), out) == 2


def test_a_choice_made_in_label_studio_becomes_an_outcome(tmp_path):
    s = study(tmp_path, evaluation(2), **PLAIN)
    out = tmp_path / "out.json"
    exchange.export(s, "secret-evaluation", out, "label-studio")
    assert 'hotkey="0"' in out.with_suffix(".xml").read_text()
    tasks = json.loads(out.read_text())
    for number, choice in enumerate(("second", "tie")):
        tasks[number] |= {"id": number}
        tasks[number]["annotations"] = [
            {
                "id": 7,
                "completed_by": {"email": "ann@example.org"},
                "lead_time": 4.5,
                "created_at": "2026-01-02T03:04:05Z",
                "result": [
                    {"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": [choice]}}
                ],
            }
        ]
    out.write_text(json.dumps(tasks))
    assert exchange.load(s, out) == 2
    assert {(r.value, r.person, r.seconds) for r in s.annotations("secret-evaluation")} == {
        ("lose", "ann", 4.5),
        ("tie", "ann", 4.5),
    }


@pytest.mark.parametrize("content", ["{}", "[]", "nonsense", '[{"data": {"prompt": "x"}}]', '[{"metadata": {}}]'])
def test_other_files_are_refused_with_a_reason(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(ExchangeError, match=r"file\.json: "):
        exchange.load(study(tmp_path, evaluation(1), **PLAIN), path)


def test_a_value_that_the_task_does_not_have_is_refused(tmp_path):
    s = filled(tmp_path, evaluation(1), people=1)
    (record,) = s.annotations("secret-evaluation")
    jsonl.write(tmp_path / "bad.jsonl", [record.model_copy(update={"value": "better"})])
    with pytest.raises(ExchangeError, match="'better'; the task pairwise has lose, tie, win"):
        exchange.load(s, tmp_path / "bad.jsonl")
    assert Annotation.model_validate_json((tmp_path / "bad.jsonl").read_text()).id == record.id
