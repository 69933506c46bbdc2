import csv
import json
import shutil
from pathlib import Path

import pytest
import small_pool
from small_pool import example, write_params

from lima import config, jsonl
from lima.curation import decisions, decontamination, mixture, sampling
from lima.records import Dropped, Example, Prompt
from lima.sources.base import DumpError
from lima.stages import mix

EVALUATION = {
    "task": "pairwise",
    "contestant": "lima",
    "rival": "c",
    "prompts": "test",
    "panel": "preference",
    "template": "pairwise.md",
}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return small_pool.build()


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


def test_the_data_seed_of_an_arm_changes_its_examples_and_not_the_held_out_set(checkout):
    sets = []
    for seed in (None, 17, 18):
        write_params(lambda values, seed=seed: values["arms"]["lima"].update(order="random", data_seed=seed))
        mix.main("lima")
        sets.append((rows("lima", "train"), rows("lima", "held_out")))
    assert sets[0] == sets[1]  # without a data seed that of mix, 17
    assert set(sets[2][0]) != set(sets[1][0])
    assert sets[2][1] == sets[1][1]


def test_an_arm_that_is_compared_with_nothing_is_named(checkout, capsys):
    reads = "data/select/lima"
    write_params(
        lambda values: (
            values["contestants"].update(
                {"lima": {"kind": "arm", "arm": "lima", "reads": reads}, "c": {"kind": "recorded", "reads": "c.jsonl"}}
            ),
            values["evaluations"].update({"lima-c": EVALUATION}),
        )
    )
    mix.main("lima")
    assert capsys.readouterr().err == ""
    mix.main("unfiltered")
    assert capsys.readouterr().err == (
        "warning: arm unfiltered has no comparison; add a contestant for it and a comparison "
        "to evaluations in params.yaml\n"
    )


def test_an_arm_never_draws_an_example_whose_tag_it_does_without(checkout):
    def tagged(row: Example) -> Example:
        return row.model_copy(update={"tags": ("format",)}) if row.provenance.site == "beer" else row

    jsonl.write(checkout, [tagged(row) for row in jsonl.read(checkout, Example)])
    write_params(lambda values: values["arms"]["lima"].update(without=["format"], examples={"wikihow": 20}))
    mix.main("lima")
    assert {row.split("/")[1] for row in rows("lima", "train")} == {"physics"}


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
    with pytest.raises(Exception, match=r"not found in scrape: wikihow/beer/\d; run scrape@wikihow"):
        mix.main("lima")


SHORT = (
    r"wikihow: 26 requested, 25 available: .*request fewer examples or add dumps\. Limited by: "
    r"[\d,]+ dropped as \w+.*; 8 held out \(mix\.held_out\); .* for this source only, set source_filters\.wikihow"
)


def test_the_setting_that_loosens_a_reason_is_named_as_params_yaml_has_it():
    p = config.load(Path(__file__).parents[2] / "params.yaml")
    named = {
        (reader, reason): path
        for reader in ("stack_exchange", "reddit", "wikihow", "natural_instructions")
        for reason in decisions.REASONS
        if (path := decisions.setting(reason, reader))
    }
    assert named["stack_exchange", "low_response_score"] == "filter.stack_exchange.prefilter.min_response_score"
    assert named["reddit", "low_response_score"] == "filter.reddit.min_response_score"
    assert set(decisions.SETTINGS) <= set(decisions.REASONS)
    values = p.model_dump()
    for reason in decisions.SETTINGS:  # each is a setting of some reader that asks it
        paths = [path for (_, of), path in named.items() if of == reason]
        assert any(reaches(values, path.split(".")) for path in paths), reason


def reaches(values: object, path: list[str]) -> bool:
    return not path or (isinstance(values, dict) and path[0] in values and reaches(values[path[0]], path[1:]))


def test_too_few_examples_are_told_and_leave_the_old_result(checkout):
    mix.main("lima")
    before = rows("lima", "train")
    write_params(lambda values: values["arms"]["lima"]["examples"].update(wikihow=26))
    with pytest.raises(sampling.TooFewExamples, match=SHORT):  # 33, 8 held out
        mix.main("lima")
    assert rows("lima", "train") == before


def test_a_broken_line_is_named_with_its_place(checkout):
    checkout.write_text(checkout.read_text() + '{"id": 7}\n')
    with pytest.raises(
        jsonl.MalformedLine, match=r"kept\.jsonl:34 is not a valid Example: id: Input should be a valid string"
    ):
        mix.main("lima")


def test_an_unknown_arm_is_told_which_there_are(checkout):
    with pytest.raises(config.ParamsError, match=r"unknown arm: 'alpaca'; params\.yaml has lima, unfiltered"):
        mix.main("alpaca")


def test_a_source_that_was_not_filtered_is_named(checkout):
    shutil.rmtree("data/filter/wikihow")
    with pytest.raises(Exception, match=r"data/filter/wikihow/kept\.jsonl not found; run `dvc repro filter@wikihow`"):
        mix.main("lima")


def test_the_examples_are_plain_chat_messages(checkout):
    mix.main("lima")
    row = json.loads(Path("data/mix/lima/train.jsonl").read_text().splitlines()[0])
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]


def test_what_is_tested_is_neither_trained_on_nor_held_out_and_goes_to_a_file(checkout):
    """As a test prompt, and in a public test set."""
    asked = example("wikihow", "physics", 3)
    prompt = {
        **asked.model_dump(),
        "messages": asked.messages[:1],
        "id": "authored/B/1",
        "provenance": asked.provenance,
    }
    jsonl.write(Path("data/prompts/test.jsonl"), [Prompt.model_validate(prompt)])
    Path("tests.jsonl").write_text('{"turns": ["Wikihow: beer, 1"]}\n')
    write_params(lambda values: values["arms"]["lima"]["examples"].update(wikihow=23))  # 33, 8 held out, 2 tested
    mix.main("lima")
    dropped = {drop.place: drop for drop in jsonl.read(Path("data/mix/lima/dropped.jsonl"), Dropped)}
    assert dropped.keys() == {"wikihow/physics/3", "wikihow/beer/1"}
    assert {drop.reason for drop in dropped.values()} == {"overlaps_test"}
    assert dropped["wikihow/physics/3"].detail == "3 words of test, authored/B/1: 'wikihow physics 3'"
    assert dropped["wikihow/beer/1"].detail == "3 words of tests.jsonl:1: 'wikihow beer 1'"
    assert not dropped.keys() & {*rows("lima", "train"), *rows("lima", "held_out")}
    (funnel,) = jsonl.read(Path("data/mix/lima/funnel.json"), decontamination.PoolFunnel)
    assert (funnel.offered, funnel.held_out, funnel.dropped) == (33, 8, {"overlaps_test": 2})
    assert (funnel.drawn, funnel.left) == (23, 0)


@pytest.mark.parametrize("split", ["dev", "test", "dialogues"])
def test_each_set_of_prompts_is_part_of_decontamination(checkout, split):
    asked = example("wikihow", "physics", 3)
    prompt = Prompt(id="authored/A/1", messages=asked.messages[:1], tags=(), provenance=asked.provenance)
    jsonl.write(Path(f"data/prompts/{split}.jsonl"), [prompt])
    mix.main("lima")
    dropped = [*jsonl.read(Path("data/mix/lima/dropped.jsonl"), Dropped)]
    assert [(drop.place, drop.reason) for drop in dropped] == [("wikihow/physics/3", "overlaps_test")]
    assert dropped[0].detail == f"3 words of {split}, authored/A/1: 'wikihow physics 3'"
    assert "wikihow/physics/3" not in {*rows("lima", "train"), *rows("lima", "held_out")}


def test_a_test_set_that_is_missing_or_unreadable_is_an_error(checkout):
    write_params(lambda values: values["mix"].update(test_sets="nowhere"))
    with pytest.raises(DumpError, match="there is no nowhere; put the dump there, or correct the path"):
        mix.main("lima")
    write_params(lambda values: None)
    Path("tests.jsonl").write_text('{"prompt": "cut o')
    with pytest.raises(DumpError, match=r"tests\.jsonl:1 cannot be read: no JSON"):
        mix.main("lima")


def test_arm_of_a_cached_pool_equals_one_without_cache_and_compares_nothing(checkout, monkeypatch):
    mix.main("lima")
    first = {path.name: path.read_bytes() for path in Path("data/mix/lima").iterdir()}
    monkeypatch.setattr(mix, "NgramIndex", None)  # calling it fails
    shutil.rmtree("data/mix")
    mix.main("lima")
    assert {path.name: path.read_bytes() for path in Path("data/mix/lima").iterdir()} == first
    assert first["dropped.jsonl"] or first["train.jsonl"]
    checkout.write_text("".join(checkout.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(TypeError):
        mix.main("lima")
