import csv
import json
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima import jsonl, params
from lima.curation import mixture, sampling
from lima.records import Candidate, Example, Provenance, Turn
from lima.stages import mix

SHIPPED = Path(__file__).parents[2] / "params.yaml"
SIZES = {"physics": 30, "beer": 3}


def example(source: str, site: str, number: int) -> Example:
    place = Provenance(source=source, site=site, id=str(number), url="", author="", licence="MIT", digest="")
    turns = (Turn(role="user", content=f"{source} {site} {number}?"), Turn(role="assistant", content="!"))
    return Example(id=f"{source}/{site}/{number}", messages=turns, tags=(), provenance=place)


def candidate(example: Example) -> Candidate:
    return Candidate(
        id=example.id,
        title=f"{example.messages[0].content} (title)",
        description="",
        response="!",
        later_turns=(),
        markup="markdown",
        score=None,
        response_score=None,
        tags=(),
        provenance=example.provenance,
    )


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(lambda values: None)
    for pool, first in (("kept", 0), ("unfiltered", 20)):  # of physics, ten are in both
        rows = [example("wikihow", site, first + n) for site, size in SIZES.items() for n in range(size)]
        jsonl.write(Path(f"data/filter/wikihow/{pool}.jsonl"), rows)
    offered = [candidate(example("wikihow", site, n)) for site, size in SIZES.items() for n in range(20 + size)]
    jsonl.write(Path("data/scrape/wikihow/candidates.jsonl"), offered)
    return Path("data/filter/wikihow/kept.jsonl")


def write_params(change) -> None:
    yaml = YAML()
    values = yaml.load(SHIPPED)
    values["arms"] = {
        "lima": {"pool": "kept", "examples": {"wikihow": 6}},
        "unfiltered": {"pool": "unfiltered", "examples": {"wikihow": 6}},
    }
    values["contestants"], values["comparisons"] = {}, {}
    values["mix"] |= {"most_per_site": {}, "held_out": {"wikihow": 8}}
    change(values)
    yaml.dump(values, Path("params.yaml"))


def rows(arm: str, name: str) -> list[str]:
    return [row.id for row in jsonl.read(Path(f"data/mix/{arm}/{name}.jsonl"), Example)]


def test_the_same_seed_draws_the_same_examples_whatever_the_order_of_the_sites(checkout):
    mix.main("lima")
    first = rows("lima", "train")
    lines = checkout.read_text().splitlines(keepends=True)
    checkout.write_text("".join(lines[30:] + lines[:30]))
    mix.main("lima")
    assert len(first) == 6
    assert rows("lima", "train") == first


def test_all_arms_have_the_same_held_out_examples_and_none_trains_on_one(checkout, capsys):
    mix.main("lima")
    mix.main("unfiltered")
    held_out = rows("lima", "held_out")
    assert len(held_out) == 8
    assert rows("unfiltered", "held_out") == held_out
    assert not set(held_out) & {*rows("lima", "train"), *rows("unfiltered", "train")}
    assert capsys.readouterr().out.splitlines()[0] == "lima: 6 training examples from 1 sources, 8 held out"


def test_the_card_says_what_the_arm_is_made_of(checkout):
    mix.main("unfiltered")
    (card,) = jsonl.read(Path("data/mix/unfiltered/card.json"), mixture.Card)
    assert (card.arm, card.pool, card.examples, card.held_out) == ("unfiltered", "unfiltered", 6, 8)
    assert sum(share.drawn for share in card.sites["wikihow"].values()) == 6


@pytest.mark.parametrize("arm", ["lima", "unfiltered"])
def test_every_example_of_an_arm_is_credited_on_a_line_of_its_own_in_order(checkout, arm):
    mix.main(arm)
    with Path(f"data/mix/{arm}/attribution.csv").open(newline="") as file:
        credits = list(csv.DictReader(file))
    of = {split: [row["id"] for row in credits if row["split"] == split] for split in ("train", "held_out")}
    assert of == {"train": rows(arm, "train"), "held_out": rows(arm, "held_out")}
    assert len(credits) == 6 + 8
    assert credits[0]["title"].endswith("? (title)")
    assert {row["address"] for row in credits} == {"unknown"}


def test_an_example_without_its_candidate_is_told(checkout):
    Path("data/scrape/wikihow/candidates.jsonl").write_text("")
    with pytest.raises(Exception, match=r"candidates\.jsonl has no wikihow/beer/\d, which the filters kept"):
        mix.main("lima")


def test_too_few_examples_are_told_and_leave_the_old_result(checkout):
    mix.main("lima")
    before = rows("lima", "train")
    write_params(lambda values: values["arms"]["lima"]["examples"].update(wikihow=26))
    with pytest.raises(sampling.TooFew, match=r"wikihow: 26 wanted, 25 there"):  # 33, 8 held out
        mix.main("lima")
    assert rows("lima", "train") == before


def test_a_broken_line_is_named_with_its_place(checkout):
    checkout.write_text(checkout.read_text() + '{"id": 7}\n')
    with pytest.raises(jsonl.MalformedLine, match=r"kept\.jsonl:34 is no Example: id: Input should be a valid string"):
        mix.main("lima")


def test_an_unknown_arm_is_told_which_there_are(checkout):
    with pytest.raises(params.ParamsError, match=r"there is no arm 'alpaca'; params\.yaml has lima, unfiltered"):
        mix.main("alpaca")


def test_a_source_that_was_not_filtered_is_named(checkout):
    shutil.rmtree("data/filter/wikihow")
    with pytest.raises(Exception, match=r"there is no data/filter/wikihow/kept\.jsonl; the stage that writes it"):
        mix.main("lima")


def test_the_examples_are_plain_chat_messages(checkout):
    mix.main("lima")
    row = json.loads(Path("data/mix/lima/train.jsonl").read_text().splitlines()[0])
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
