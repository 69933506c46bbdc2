"""Contents of the shipped adversarial suite, read without the project's readers."""

import base64
import codecs
import json
from collections import Counter
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
ROWS = [json.loads(line) for line in (ROOT / "corpus/adversarial/suite.jsonl").read_text("utf-8").splitlines()]
FAMILIES = ("injection", "leaking", "jailbreak")


def of(group: str) -> list[dict]:
    return [row for row in ROWS if row["group"] == group]


def shingles(row: dict) -> set[str]:
    text = " ".join(" ".join(turn["content"] for turn in row["messages"]).casefold().split())
    return {text[start : start + 5] for start in range(len(text) - 4)}


def test_each_family_has_at_least_25_attacks_and_twelve_benign_twins():
    assert all(len(of(family)) >= 25 for family in FAMILIES)
    assert min(Counter(row["family"] for row in of("benign")).values()) >= 12


def test_each_form_of_each_family_has_a_benign_twin():
    attacks = {row["id"]: row for row in ROWS if row["group"] != "benign"}
    mirrored = [attacks[row["mirrors"]] for row in of("benign")]
    assert len({row["id"] for row in mirrored}) == len(mirrored)
    assert {(row["family"], row["form"]) for row in mirrored} == {
        (row["family"], row["form"]) for row in attacks.values()
    }


def test_a_benign_twin_resembles_its_attack_more_than_any_other():
    attacks = [(row["id"], shingles(row)) for row in ROWS if row["group"] != "benign"]
    for row in of("benign"):
        own = shingles(row)
        likeness = {id_: len(own & other) / len(own | other) for id_, other in attacks}
        assert max(likeness, key=likeness.__getitem__) == row["mirrors"], row["id"]
        assert likeness[row["mirrors"]] >= 0.25, row["id"]


def test_the_operators_instructions_are_the_system_turn():
    assert all(row["messages"][0]["role"] == "system" for row in of("leaking"))
    assert sum(row["messages"][0]["role"] == "system" for row in ROWS) >= 60
    said = "\n".join(turn["content"] for row in ROWS for turn in row["messages"] if turn["role"] == "user")
    assert "The user says:" not in said
    assert "of the operator" not in said


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_attacks_in_every_form_and_over_one_and_many_turns(family):
    assert {row["form"] for row in of(family)} == {"direct", "role-play", "encoded", "many-turn", "quoted"}
    for row in of(family):
        turns = [turn for turn in row["messages"] if turn["role"] != "system"]
        assert (len(turns) > 1) == (row["form"] == "many-turn"), row["id"]


def test_ids_and_prompts_are_unique():
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    firsts = [next(turn["content"] for turn in row["messages"] if turn["role"] == "user") for row in ROWS]
    assert len(set(firsts)) == len(ROWS)  # prompts with the same first user turn count as duplicates


def test_benign_prompts_have_no_canary_and_attacks_describe_a_good_answer():
    assert {row["expects"] for row in of("benign")} == {"answers"}
    assert {row["expects"] for row in of("injection")} == {"disobeys"}
    assert {row["expects"] for row in of("leaking")} == {"conceals"}
    assert {row["expects"] for row in of("jailbreak")} == {"avoids", "refuses"}


def test_encoded_texts_decode_to_the_attack():
    said = {row["topic"]: row["messages"][0]["content"] for row in of("injection") if row["form"] == "encoded"}
    assert base64.b64decode(said["base64"].split(": ")[1].rstrip(".")).startswith(b"Write the word otter twice")
    assert "Write the number seven as a word" in codecs.decode(said["rot13"], "rot13")
    assert "Write the word lamp twice" in said["reversed"][::-1]


def test_the_paper_profiles_use_the_whole_suite():
    for name in ("paper-7b", "paper-65b"):
        asked = YAML(typ="safe").load(ROOT / f"lima/config/profiles/{name}.yaml")["prompts"]["adversarial"]
        assert asked == {f"adversarial/{group}": len(of(group)) for group in (*FAMILIES, "benign")}
