import pytest

from lima import jsonl
from lima.errors import LimaError
from lima.inference import recorded
from lima.records import Prompt, Provenance, Response, Turn

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", licence="MIT", digest="0")
PROMPTS = [Prompt(id=name, messages=(Turn(role="user", content="?"),), tags=(), provenance=PLACE) for name in "abc"]


def response(prompt_id, sample=0, text="!"):
    return Response(prompt_id=prompt_id, contestant="someone", sample=sample, text=text, finish="stop", tokens=None)


def test_recorded_answers_take_the_contestants_name_and_the_prompts_order(tmp_path):
    path = tmp_path / "recorded.jsonl"
    jsonl.write(path, [response("c"), response("a", 1), response("elsewhere"), response("a", 0)])
    given = recorded.read(path, PROMPTS, contestant="authors")
    assert [(r.contestant, r.prompt_id, r.sample) for r in given] == [
        ("authors", "a", 0),
        ("authors", "a", 1),
        ("authors", "c", 0),
    ]


def test_two_answers_to_one_prompt_are_named(tmp_path):
    path = tmp_path / "recorded.jsonl"
    jsonl.write(path, [response("a"), response("a", text="?")])
    with pytest.raises(LimaError, match=r"recorded\.jsonl answers prompt a \(sample 0\) more than once; keep one"):
        recorded.read(path, PROMPTS, contestant="authors")


def test_a_file_that_fits_no_prompt_is_named(tmp_path):
    path = tmp_path / "recorded.jsonl"
    jsonl.write(path, [response("z")])
    with pytest.raises(LimaError, match=r"has 1 responses, but none whose prompt_id is among the 3 prompts"):
        recorded.read(path, PROMPTS, contestant="authors")


def test_reasoning_is_no_part_of_a_recorded_answer(tmp_path):
    path = tmp_path / "recorded.jsonl"
    jsonl.write(path, [response("a", text="<think>x</think>\nYes."), response("b", text="<think>x")])
    assert [r.text for r in recorded.read(path, PROMPTS, contestant="authors")] == ["Yes.", ""]
