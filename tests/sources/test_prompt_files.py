import json

import pytest

from lima.sources import prompt_files
from lima.sources.base import DumpError

ROWS = [
    {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]},
    {"conversations": ["Why?", "Because."]},
    {"conversations": [{"from": "human", "value": "Why?"}]},
    {"conversations": "Why?"},
    {"question_id": 1, "turns": ["Why?", "And then?"]},
    {"id": "x", "prompt": "Why?"},
    {"instruction": "Why?", "input": "", "output": "Because."},
    {"question": "Why?"},
    {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
    {"prompt": {"role": "prompter", "text": "Why?", "replies": []}},
    {"instruction": "Why?", "context": "", "response": "Because.", "category": "x"},
    {"instruction": "Why?", "instances": [{"input": "", "output": "Because."}]},
]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_every_layout_gives_its_first_prompt(tmp_path, row, form):
    path = tmp_path / f"set.{form}"
    path.write_text(json.dumps([row, row]) if form == "json" else f"{json.dumps(row)}\n\n{json.dumps(row)}\n")
    assert prompt_files.read(path) == ["Why?", "Why?"]


@pytest.mark.parametrize("extra", [{"input": "A text."}, {"instances": [{"input": "A text."}]}])
def test_the_matter_of_an_instruction_stands_below_it(tmp_path, extra):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"instruction": "Shorten this:", **extra}))
    assert prompt_files.read(path) == ["Shorten this:\n\nA text."]


def test_text_is_a_prompt_a_line(tmp_path):
    (tmp_path / "set.txt").write_text("Why?\n\nHow?\n")
    assert prompt_files.read(tmp_path / "set.txt") == ["Why?", "How?"]


def test_text_in_another_encoding_is_told(tmp_path):
    (tmp_path / "set.txt").write_bytes("Où ?\n".encode("latin-1"))
    with pytest.raises(DumpError, match=r"set\.txt:1 cannot be read: no text in UTF-8: .* position 1"):
        prompt_files.read(tmp_path / "set.txt")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"prompt": "Why?"}\n{"answer": "So."}\n', r"set.jsonl:2: no prompt, but rows with the keys `answer`; name"),
        ('{"prompt": " "}\n', r"set.jsonl:1 cannot be read: prompt: no text"),
        ('{"turns": []}\n', r"set.jsonl:1 cannot be read: turns: no list of texts"),
        ('{"prompt": \n', r"set.jsonl:1 cannot be read: no JSON"),
        ("\n", "set.jsonl has no prompts"),
    ],
)
def test_what_has_no_prompt_is_told_with_its_place(tmp_path, text, says):
    (tmp_path / "set.jsonl").write_text(text)
    with pytest.raises(DumpError, match=says):
        prompt_files.read(tmp_path / "set.jsonl")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DumpError, match=r"there is no \S+none\.jsonl"):
        prompt_files.read(tmp_path / "none.jsonl")
