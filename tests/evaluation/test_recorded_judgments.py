"""Recorded judgments as an annotator: AlpacaEval, MT-Bench and Arena-Hard files about an evaluation's responses."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from lima import config, jsonl
from lima.config.entries import Evaluation, RecordedAnnotator
from lima.errors import LimaError
from lima.evaluation import items, recorded_judgments
from lima.records import Judgment, Prompt, Provenance, Response, Turn
from lima.stages import judge

LAPTOP = Path(__file__).parents[2] / "lima/config/profiles/laptop.yaml"
PLACE = Provenance(source="authored", site="B", id="", url="", author="ann", license="MIT", digest="0")
IDS = ["p0", "p1", "p2"]
PROMPTS = [
    Prompt(id=i, messages=(Turn(role="user", content=f"{i}?"),), tags=(), provenance=PLACE.model_copy(update={"id": i}))
    for i in IDS
]
EVALUATION = Evaluation(
    task="pairwise", contestant="lima", rival="base", prompts="test", panel="public", template="pairwise"
)
FILE = "corpus/judgments/judge.json"


def answers(contestant):
    return [
        Response(prompt_id=i, contestant=contestant, sample=0, text=f"{contestant} {i}", finish="stop", tokens=None)
        for i in IDS
    ]


def alpaca_eval(prompt_id, preference, **changes):
    """An annotation in which output_1 is the base's and output_2 that of lima, named LIMA-65B."""
    row = {
        "instruction": f"{prompt_id}?", "output_1": f"base {prompt_id}", "generator_1": "base",
        "output_2": f"lima {prompt_id}", "generator_2": "LIMA-65B", "annotator": "gpt4", "preference": preference,
    }  # fmt: skip
    return row | changes


def mt_bench(prompt_id, first, second):
    return {
        "question_id": prompt_id, "model_1": "base", "model_2": "LIMA-65B", "judge": ["gpt-4", "pair-v2"], "turn": 1,
        "g1_winner": first, "g2_winner": second, "g1_judgment": "x", "g2_judgment": "y",
    }  # fmt: skip


def arena_hard(prompt_id, first, second):
    games = [{"score": score, "judgment": {"answer": "x"}} for score in (first, second)]
    return {"uid": prompt_id, "model": "LIMA-65B", "judge": "gpt-4.1", "games": games}


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Judges the three pairs by rows of a file."""
    monkeypatch.chdir(tmp_path)

    def by(rows, **changes):
        Path(FILE).parent.mkdir(parents=True, exist_ok=True)
        Path(FILE).write_text(json.dumps(rows))
        pairs = items.collect(PROMPTS, {name: answers(name) for name in ("lima", "base")}, EVALUATION).items
        annotator = RecordedAnnotator(**{"kind": "recorded", "reads": FILE, "names": {"lima": "LIMA-65B"}} | changes)
        return recorded_judgments.judge(pairs, evaluation=EVALUATION, key="e", name="gpt-4", annotator=annotator)

    return by


@pytest.mark.parametrize(
    "rows",
    [
        [alpaca_eval("p1", 1.9), alpaca_eval("p0", 1.0), alpaca_eval("p2", 1.5)],
        # model_1 is the base, so its win is a loss of lima
        [mt_bench("p1", "model_2", "model_2"), mt_bench("p0", "model_1", "model_1"), mt_bench("p2", "tie", "model_1")],
        # the baseline is shown first; the file does not name it
        [arena_hard("p1", "B>A", "A>>B"), arena_hard("p0", "A>B", "B>A"), arena_hard("p2", "A=B", "A=B")],
    ],
)
def test_a_judgment_has_the_side_and_the_names_of_the_evaluation_in_each_format(judged, rows):
    found = judged(rows)
    assert [(j.prompt_id, j.value) for j in found.judgments] == [("p0", "lose"), ("p1", "win"), ("p2", "tie")]
    assert {(j.evaluation, j.annotator, j.contestant, j.rival) for j in found.judgments} == {
        ("e", "gpt-4", "lima", "base")
    }
    assert {reply.first for j in found.judgments for reply in j.replies} <= {"lima", "base"}
    assert (found.unjudged, found.other_pairs, found.other_responses) == (0, 0, 0)


def test_a_verdict_that_changes_with_the_order_stays_inconsistent(judged):
    (record,) = judged([mt_bench("p0", "model_1", "model_2")]).judgments
    assert (record.value, record.reason) == (None, "inconsistent")


def test_judgments_of_other_pairs_and_other_texts_do_not_count_and_are_counted(judged):
    rows = [
        alpaca_eval("p0", 2.0),
        alpaca_eval("p1", 2.0, output_2="an answer of an earlier version"),
        alpaca_eval("p2", 2.0, generator_2="alpaca"),
    ]
    found = judged(rows)
    assert [(j.prompt_id, j.value) for j in found.judgments] == [("p0", "win")]
    assert (found.unjudged, found.other_pairs, found.other_responses) == (2, 1, 1)


def test_a_file_about_others_is_an_error_that_names_them(judged):
    with pytest.raises(LimaError, match=r"no judgment of lima and base; it has those of LIMA-65B and base; write the"):
        judged([alpaca_eval("p0", 2.0)], names={})
    with pytest.raises(LimaError, match=r"none of the 1 judgments of LIMA-65B and base .* is about their responses"):
        judged([alpaca_eval("p0", 2.0, output_1="another")])


def test_the_stage_judge_depends_on_the_files_folder():
    with pytest.raises(ValidationError, match=r"/tmp/judge\.json is not below corpus/judgments/"):
        RecordedAnnotator(kind="recorded", reads="/tmp/judge.json")
    with pytest.raises(ValidationError, match="is not below"):
        RecordedAnnotator(kind="recorded", reads="corpus/judgments/../judge.json")
    graph = YAML(typ="safe").load(Path(__file__).parents[2] / "dvc.yaml")
    assert "corpus/judgments" in graph["stages"]["judge"]["do"]["deps"]


def write_params(**changes):
    yaml = YAML()
    values = yaml.load(LAPTOP)
    values["panels"]["public"] = {"gpt-4": {"kind": "recorded", "reads": FILE, "names": {"lima": "LIMA-65B"}}}
    values["evaluations"]["lima-base"] |= {"panel": "public", **changes}
    yaml.dump(values, Path("params.yaml"))


def test_the_stage_writes_them_and_prints_what_is_missing(judged, capsys):
    judged([alpaca_eval("p0", 2.0)])
    write_params()
    jsonl.write(Path("data/prompts/test.jsonl"), PROMPTS)
    for name in ("lima", "base"):
        jsonl.write(Path(f"data/sample/{name}/responses.jsonl"), answers(name))
    judge.main("lima-base")
    (record,) = jsonl.read(Path("data/judge/lima-base/gpt-4/judgments.jsonl"), Judgment)
    assert (record.annotator, record.value) == ("gpt-4", "win")
    assert "recorded judgments of gpt-4: 2 of 3 items have none; 0 are about other" in capsys.readouterr().out


def test_other_tasks_than_pairs_are_refused_with_the_panel(judged):
    write_params(task="grade")
    with pytest.raises(
        config.ParamsError, match=r"panels\.public\.gpt-4: recorded judgments are about pairs, but the t"
    ):
        config.load()
