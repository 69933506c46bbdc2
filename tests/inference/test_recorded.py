import pytest

from lima import jsonl
from lima.errors import LimaError
from lima.inference import recorded
from lima.records import Prompt, Provenance, Response, Turn

PLACE = Provenance(source="authored", site="B", id="1", url="", author="ann", license="MIT", digest="0")
PROMPTS = [Prompt(id=name, messages=(Turn(role="user", content="?"),), tags=(), provenance=PLACE) for name in "abc"]


def response(prompt_id, sample=0, text="!"):
    return Response(prompt_id=prompt_id, contestant="someone", sample=sample, text=text, finish="stop", tokens=None)


def test_recorded_responses_have_the_contestants_name_and_the_order_of_the_prompts(tmp_path):
    path = tmp_path / "recorded.jsonl"
    jsonl.write(path, [response("c"), response("a", 1), response("elsewhere"), response("a", 0)])
    responses = recorded.read(path, PROMPTS, contestant="authors")
    assert [(r.contestant, r.prompt_id, r.sample) for r in responses] == [
        ("authors", "a", 0),
        ("authors", "a", 1),
        ("authors", "c", 0),
    ]


def test_a_duplicate_response_raises(tmp_path):
    path = tmp_path / "recorded.jsonl"
    jsonl.write(path, [response("a"), response("a", text="?")])
    with pytest.raises(LimaError, match=r"duplicate response to prompt a \(sample 0\) in .*recorded\.jsonl; keep one"):
        recorded.read(path, PROMPTS, contestant="authors")


def test_a_file_without_a_response_to_any_prompt_raises(tmp_path):
    path = tmp_path / "recorded.jsonl"
    jsonl.write(path, [response("z")])
    with pytest.raises(LimaError, match=r"no response to any of the 3 prompts among the 1 in .*recorded\.jsonl"):
        recorded.read(path, PROMPTS, contestant="authors")


def test_reasoning_blocks_are_removed(tmp_path):
    path = tmp_path / "recorded.jsonl"
    jsonl.write(path, [response("a", text="<think>x</think>\nYes."), response("b", text="<think>x")])
    assert [r.text for r in recorded.read(path, PROMPTS, contestant="authors")] == ["Yes.", ""]
