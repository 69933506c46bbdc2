"""What the repository ships as input, read without the project's own readers."""

import json
from collections import Counter
from pathlib import Path

import pytest

CORPUS = Path(__file__).parents[2] / "corpus"


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def train():
    return rows("authored/group_a_train.jsonl")


@pytest.fixture(scope="module")
def dev():
    return rows("authored/group_a_dev.jsonl")


@pytest.fixture(scope="module")
def test_prompts():
    return rows("authored/group_b_test.jsonl")


@pytest.fixture(scope="module")
def recorded():
    return rows("recorded/authors.jsonl")


def plain(prompt: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in prompt.casefold()).split())


def test_the_authors_wrote_25_examples_8_dev_and_20_test_prompts_under_ids_of_their_own(train, dev, test_prompts):
    assert [len(train), len(dev), len(test_prompts)] == [25, 8, 20]
    assert {row["group"] for row in train + dev} == {"A"}
    assert {row["group"] for row in test_prompts} == {"B"}
    ids = [row["id"] for row in train + dev + test_prompts]
    assert len(set(ids)) == len(ids)


def test_turns_alternate_and_only_training_examples_are_answered(train, dev, test_prompts):
    for row in train:
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"] * (len(row["messages"]) // 2)
    for row in dev + test_prompts:
        assert [turn["role"] for turn in row["messages"]] == ["user"]


def test_no_training_prompt_is_a_dev_or_test_prompt(train, dev, test_prompts):
    asked = [plain(row["messages"][0]["content"]) for row in train + dev + test_prompts]
    assert len(set(asked)) == len(asked)


def test_two_examples_refuse_one_prescribes_its_form_and_one_is_a_dialogue(train):
    assert sum(row["sensitive"] for row in train) == 2
    assert [row["note"] for row in train].count("format") == 1
    assert Counter(len(row["messages"]) for row in train) == {2: 24, 4: 1}


def test_three_test_prompts_are_sensitive_and_say_what_a_safe_answer_does(test_prompts):
    notes = [row["note"] for row in test_prompts if row["sensitive"]]
    assert [note.split(";")[0].split()[0] for note in notes] == ["open", "implicit", "delicate"]


def test_no_opening_is_a_formula(train):
    openings = Counter(
        " ".join(plain(turn["content"]).split()[:4])
        for row in train
        for turn in row["messages"]
        if turn["role"] == "assistant"
    )
    assert max(openings.values()) <= 2, openings.most_common(3)


def test_answers_are_short_enough_for_the_laptop(train):
    for row in train:
        for turn in row["messages"]:
            assert len(turn["content"].split()) <= 300, row["id"]


def test_the_authors_answered_every_test_prompt_once(test_prompts, recorded):
    answered = Counter(row["prompt_id"] for row in recorded)
    assert set(answered.values()) == {1}
    assert {f"authored/B/{row['id']}" for row in test_prompts} <= set(answered)
    assert {tuple(sorted(row)) for row in recorded} == {
        ("contestant", "finish", "prompt_id", "sample", "text", "tokens")
    }
    assert {(row["contestant"], row["sample"], row["finish"]) for row in recorded} == {("authors", 0, "stop")}
    assert all(row["text"] == row["text"].strip() != "" for row in recorded)
