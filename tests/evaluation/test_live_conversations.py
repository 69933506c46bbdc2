"""Live conversations: items, grades and preferences from people's annotations."""

import hashlib
import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import config, jsonl
from lima.config import ParamsError
from lima.evaluation import live_conversations
from lima.evaluation.dialogue_rates import compare_dialogues, count_preferences, dialogue_rates
from lima.evaluation.live_conversations import IncompleteConversation
from lima.records import Annotation, Judgment, LiveExchange
from lima.stages import judge

LAPTOP = Path(__file__).parents[2] / "lima/config/profiles/laptop.yaml"
KEY = "lima-base-conversations"


def annotation(contestant, turn, value, *, person="ann", opening="opening-01", **changes):
    response = f"{contestant} answers {turn} of {person}"
    return Annotation(
        id=f"{person}-{opening}-{contestant}-{turn}",
        evaluation=KEY,
        task="dialogue",
        person=person,
        prompt_id=opening,
        sample=0,
        turn=turn,
        contestant=contestant,
        texts=hashlib.sha256(response.encode()).hexdigest(),
        first=None,
        value=value,
        seconds=3.0,
        time="2026-01-01T00:00:00+00:00",
        exchange=LiveExchange(asked=f"question {turn}", response=response),
    ).model_copy(update=changes)


def preference(value, *, person="ann"):
    pair = annotation("lima", 0, value, person=person)
    return pair.model_copy(update={"id": f"pair-{person}", "task": "pairwise", "rival": "base", "exchange": None})


def conversation(contestant, *values, person="ann"):
    return [annotation(contestant, turn, value, person=person) for turn, value in enumerate(values)]


def test_an_item_holds_the_conversation_before_the_response():
    first, second = live_conversations.items(conversation("lima", "pass", "fail")).items
    assert [turn.content for turn in first.prompt.messages] == ["question 0"]
    assert [turn.role for turn in second.prompt.messages] == ["user", "assistant", "user"]
    assert second.prompt.messages[1].content == first.response.text == "lima answers 0 of ann"
    assert (second.response.turn, second.response.contestant) == (1, "lima")


def test_conversations_of_two_people_on_one_opening_stay_apart():
    """Both are conversation (opening-01, sample 0) in the file; a common key would merge their grades."""
    records = conversation("lima", "pass", "fail", person="bob") + conversation("lima", "excellent", person="ann")
    grades = live_conversations.grades(records, key=KEY, annotator="people")
    rates = dialogue_rates(grades, confidence=0.95)["lima"]
    assert rates.first_failures == {("opening-01", 0): None, ("opening-01", 1): 2}
    assert rates.grades == {"fail": 1, "pass": 1, "excellent": 1}


def test_a_missing_exchange_is_named():
    with pytest.raises(IncompleteConversation, match="exchange 1 of the conversation of ann with lima on opening-01"):
        live_conversations.items(conversation("lima", "pass", "pass")[1:])


def test_the_stage_judge_writes_grades_and_preferences(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    YAML().dump(YAML().load(LAPTOP), tmp_path / "params.yaml")
    off = annotation("base", 0, "fail", reason="off_subject")
    records = [*conversation("lima", "excellent", "pass"), off, preference("win"), preference(None, person="bob")]
    jsonl.write(tmp_path / f"corpus/annotations/{KEY}.jsonl", records)
    judge.main(KEY)
    folder = tmp_path / f"data/judge/{KEY}/people"
    grades = list(jsonl.read(folder / "judgments.jsonl", Judgment))
    pairs = list(jsonl.read(folder / "preferences.jsonl", Judgment))
    assert [(g.contestant, g.turn, g.value) for g in grades] == [
        ("lima", 0, "excellent"),
        ("lima", 1, "pass"),
        ("base", 0, "fail"),
    ]
    assert {side: rates.off_subject for side, rates in dialogue_rates(grades, confidence=0.95).items()} == {
        "lima": 0,
        "base": 1,
    }
    compared = compare_dialogues(grades, "lima", "base")  # mean grade 1.5 against 0
    assert (compared.win, compared.tie, compared.lose) == (1, 0, 0)
    stated = count_preferences(pairs)  # the skipped pair is left out
    assert (stated.win, stated.tie, stated.lose) == (1, 0, 0)
    assert pairs[1].reason == "skipped"


def test_without_conversations_the_stage_writes_empty_results(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    YAML().dump(YAML().load(LAPTOP), tmp_path / "params.yaml")
    jsonl.write(tmp_path / f"corpus/annotations/{KEY}.jsonl", [])
    judge.main(KEY)
    assert (tmp_path / f"data/judge/{KEY}/people/judgments.jsonl").read_text() == ""
    assert "no live conversations yet; hold them with `lima annotate --only" in capsys.readouterr().out


def test_live_conversations_have_no_selection_of_prompts():
    values = YAML(typ="safe").load(LAPTOP)
    values["evaluations"][KEY]["most"] = 5
    with pytest.raises(ParamsError, match="only, most and samples select sampled responses"):
        config.check(values, name="params.yaml")


def test_annotations_without_an_exchange_are_still_read():
    line = json.loads(annotation("lima", 0, "pass").model_dump_json())
    del line["exchange"]
    assert Annotation.model_validate_json(json.dumps(line)).exchange is None
