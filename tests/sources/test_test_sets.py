import json
import re
from pathlib import Path

import pytest

from lima.sources import containers
from lima.sources import test_sets as public_sets
from lima.sources.base import DumpError

SHARED = Path(__file__).parents[3] / "shared/realdata"


@pytest.mark.parametrize(
    ("row", "prompts"),
    [
        ({"prompt": "Why?"}, ["Why?"]),
        ({"text": "Why?", "category": "x"}, ["Why?"]),
        ({"question": "Why?", "context": "Once."}, ["Why?", "Once."]),
        ({"instruction": "Sum up.", "input": "A text."}, ["Sum up.", "A text."]),
        (
            {
                "instruction": "Sum up.",
                "instances": [{"input": "A text.", "output": "It."}, {"input": "", "output": ""}],
            },
            ["Sum up.", "A text."],
        ),
        ({"turns": ["Why?", "And then?"]}, ["Why?", "And then?"]),
        ({"conversations": ["Why?", "So.", "Ah?"]}, ["Why?", "Ah?"]),
        ({"conversations": "Why?"}, ["Why?"]),
        (
            {"messages": [{"role": "system", "content": "Be."}, {"role": "user", "content": "Why?"}]},
            ["Why?"],
        ),
        ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}, ["Why?"]),
        ("Why?", ["Why?"]),
    ],
)
def test_the_prompts_of_a_row_are_found_under_the_usual_names_and_answers_are_none(tmp_path, row, prompts):
    lines = tmp_path / "set.jsonl"
    lines.write_text(f"{json.dumps(row)}\n\n")
    array = tmp_path / "set.json"
    array.write_text(json.dumps([row]))
    assert list(public_sets.read(lines)) == [(f"{lines}:1", prompt) for prompt in prompts]
    assert list(public_sets.read(array)) == [(f"{array}:1", prompt) for prompt in prompts]


def test_a_table_has_a_head_and_a_folder_several_files(tmp_path):
    (tmp_path / "b.csv").write_text('\ufeffid,prompt\n1,"Why, so?"\n')
    (tmp_path / "a.jsonl").write_text('{"prompt": "How?"}\n')
    (tmp_path / "notes.txt").write_text("not a set")
    assert list(public_sets.read(tmp_path)) == [(f"{tmp_path}/a.jsonl:1", "How?"), (f"{tmp_path}/b.csv:2", "Why, so?")]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "a.jsonl",
            '{"prompt": "Why?"}\n{"answer": 7}\n',
            r":2 has no prompt but rows with the keys `answer`; name the prompt prompt",
        ),
        ("a.jsonl", "7\n", r"a\.jsonl:1 has no prompt but rows of the type int"),
        ("a.jsonl", '{"prompt": "Why', r"a\.jsonl:1 cannot be read: no JSON"),
        ("a.jsonl", "", r"a\.jsonl is empty"),
        ("a.json", "{", r"a\.json:1 cannot be read: no JSON"),
        ("a.csv", "id,answer\n1,7\n", r"a\.csv:2 has no prompt but rows with the keys `id`, `answer`"),
        ("a.csv", "id\n1,7\n", r"a\.csv:2 cannot be read: more cells than the header's 1"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(DumpError, match=says):
        list(public_sets.read(tmp_path / name))


def test_a_set_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(DumpError, match="there is no"):
        list(public_sets.read(tmp_path / "nowhere.jsonl"))


@pytest.mark.skipif(not SHARED.exists(), reason="the real files are not here")
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("lima/lima_test_set.jsonl", 300),
        ("prompts/koala_test_set.jsonl", 180),
        ("prompts/mt_bench_question.jsonl", 80),
        ("prompts/self_instruct_seed_tasks.jsonl", 175),
        ("prompts/self_instruct_user_oriented_instructions.jsonl", 252),
        ("prompts/vicuna_bench_question.jsonl", 80),
        ("safety/xstest_prompts.csv", 450),
    ],
)
def test_every_row_of_the_published_sets_tells_its_prompt(name, rows):
    assert len({place for place, _ in public_sets.read(SHARED / name)}) == rows


def test_the_comment_in_params_yaml_names_every_container():
    names = {"jsonl": "JSONL", "ndjson": "JSONL", "json": "JSON", "csv": "CSV", "tsv": "TSV"}
    names |= {"gz": ".gz", "zst": ".zst", "parquet": "Parquet", "arrow": "Arrow"}
    assert {part for suffix in containers.SUFFIXES for part in suffix.split(".")[1:]} == names.keys()
    lines = (Path(__file__).parents[2] / "params.yaml").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("  test_sets: ")]
    assert set(re.split(r"[ ,:()]+", line)) >= set(names.values())
