import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.config.sections import Contamination, NearDuplicates
from lima.curation.decontamination import (
    REASONS,
    CleanPool,
    NgramIndex,
    Passage,
    PoolFunnel,
    clean_pool,
    funnels,
    passages,
    without_overlap,
)
from lima.records import Example, Provenance, Turn

NEAR = NearDuplicates(words=3, least_jaccard=0.7, permutations=128, bands=128)
RUNS = Contamination(words=6, least_words=4)
FABLE = "a fox saw some grapes and jumped at them again and again until night fell"


def example(name: str, asked: str, answer: str) -> Example:
    source, site, number = name.split("/")
    place = Provenance(source=source, site=site, id=number, url="", author="", licence="MIT", digest="")
    turns = (Turn(role="user", content=asked), Turn(role="assistant", content=answer))
    return Example(id=name, messages=turns, tags=(), provenance=place)


def vetted(
    offered: dict[str, list[Example]], *, tested: tuple[str, ...] = (), held_out: tuple[Example, ...] = ()
) -> CleanPool:
    tests = NgramIndex([Passage("test.jsonl:1", text) for text in tested], p=RUNS)
    held = NgramIndex(passages(held_out), p=RUNS)
    return clean_pool(offered, tests=tests, held_out=held_out, held_out_passages=held, near=NEAR)


def told(result: CleanPool) -> dict[str, tuple[str, str]]:
    return {drop.place: (drop.reason, drop.detail) for drop in result.dropped}


def ids(result: CleanPool) -> list[str]:
    return [one.id for examples in result.fit.values() for one in examples]


TEA = example("s/tea/1", "How long does tea draw?", "Four minutes are enough for most leaves.")


def test_what_is_tested_is_dropped_with_the_passage():
    result = vetted({"s": [TEA]}, tested=("Say how long does tea draw in summer", "four minutes are enough for most"))
    assert told(result) == {"s/tea/1": ("overlaps_test", "6 words of test.jsonl:1: 'four minutes are enough for most'")}


def test_a_held_out_example_is_set_apart_and_what_quotes_it_or_asks_the_same_is_dropped():
    held = example("s/tea/2", "Why?", FABLE)
    offered = [
        held,
        example("s/tea/3", "What did the fox do?", f"They say {FABLE}."),
        example("s/tea/4", "why", "Because."),
        TEA,
    ]
    result = vetted({"s": offered}, held_out=(held,))
    assert ids(result) == ["s/tea/1"]
    assert told(result)["s/tea/3"] == ("overlaps_held_out", f"15 words of s/tea/2: '{FABLE}'")
    assert told(result)["s/tea/4"] == ("same_prompt", "as s/tea/2")


def test_of_near_duplicates_across_sources_the_one_of_the_source_named_first_stays():
    one, other = (
        example("s/tea/1", "What did the fox do?", FABLE),
        example("t/ale/1", "What did the fox do then?", FABLE),
    )
    first, second = vetted({"s": [one], "t": [other]}), vetted({"t": [other], "s": [one]})
    assert (ids(first), ids(second)) == (["s/tea/1"], ["t/ale/1"])
    # 20 and 21 words, so 18 and 19 runs of three; 3 of the prompts and 13 of the answers are shared: 16 of 21
    assert told(first) == {"t/ale/1": ("near_duplicate", "of s/tea/1, Jaccard 0.762")}
    assert told(second) == {"s/tea/1": ("near_duplicate", "of t/ale/1, Jaccard 0.762")}


@pytest.mark.parametrize("second", ["s/tea/2", "t/ale/1"])  # of the same source, of another one
def test_a_prompt_let_through_once_is_not_asked_again(second):
    first = example("s/tea/1", "Why is the sky blue?", "Short waves are scattered more than long ones.")
    again = example(second, "why is the sky BLUE", "Ask a physicist, or wait for the evening.")
    offered = {"s": [first], "t": []}
    offered[second[0]].append(again)
    result = vetted(offered)
    assert ids(result) == ["s/tea/1"]
    assert told(result) == {second: ("same_prompt", "as s/tea/1")}


def test_within_a_source_the_first_by_site_then_in_the_pools_order_stays():
    same = [example(name, "What did the fox do?", f"{FABLE} {n}") for n, name in enumerate(("s/b/1", "s/a/2", "s/a/1"))]
    assert ids(vetted({"s": same})) == ["s/a/2"]


def test_what_may_be_held_out_shares_nothing_with_a_test():
    tests = NgramIndex([Passage("x", "how long does tea draw")], p=RUNS)
    assert without_overlap({"s": [TEA, example("s/a/1", "Why?", "So.")]}, tests)["s"][0].id == "s/a/1"


NAMES = st.sampled_from(["s/a", "s/b", "t/a"])
WORDS = st.lists(st.sampled_from("uvwxyz"), min_size=1, max_size=9).map(" ".join)


@given(st.lists(st.tuples(NAMES, WORDS, WORDS), max_size=8), WORDS, st.integers(0, 3), st.integers(0, 3))
def test_every_example_goes_one_way_and_the_funnels_add_up(rows, tested, held_count, drawn_count):
    everything = [example(f"{name}/{number}", asked, answer) for number, (name, asked, answer) in enumerate(rows)]
    offered = {source: [one for one in everything if one.id.startswith(source)] for source in "st"}
    held_out = everything[:held_count]
    result = vetted(offered, tested=(tested,), held_out=tuple(held_out))
    gone = [*ids(result), *(drop.place for drop in result.dropped), *(one.id for one in held_out)]
    assert sorted(gone) == sorted(one.id for one in everything)
    train = [one for examples in result.fit.values() for one in examples][:drawn_count]
    for funnel in funnels(offered, result, without=[], held_out=held_out, train=train):  # raises if one does not add up
        assert list(funnel.dropped) == [reason for reason in REASONS if reason in funnel.dropped]


def test_what_carries_a_tag_that_the_arm_does_without_is_counted():
    offered = {"s": [TEA.model_copy(update={"tags": ("format",)}), example("s/a/1", "Why?", "So.")]}
    result = vetted({"s": offered["s"][1:]})
    (funnel,) = funnels(offered, result, without=["format"], held_out=[], train=[])
    assert (funnel.offered, funnel.excluded, funnel.left) == (2, 1, 1)


def test_a_funnel_that_does_not_add_up_is_none():
    with pytest.raises(ValueError, match="5 offered, but 4 held out, excluded, dropped, drawn or left"):
        PoolFunnel(source="s", offered=5, held_out=1, excluded=0, dropped={"same_prompt": 1}, drawn=1, left=1)
