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


def example(name: str, prompt: str, answer: str) -> Example:
    source, site, number = name.split("/")
    place = Provenance(source=source, site=site, id=number, url="", author="", license="MIT", digest="")
    turns = (Turn(role="user", content=prompt), Turn(role="assistant", content=answer))
    return Example(id=name, messages=turns, tags=(), provenance=place)


def cleaned(
    offered: dict[str, list[Example]], *, tested: tuple[str, ...] = (), held_out: tuple[Example, ...] = ()
) -> CleanPool:
    tests = NgramIndex([Passage("test.jsonl:1", text) for text in tested], settings=RUNS)
    held = NgramIndex(passages(held_out), settings=RUNS)
    return clean_pool(offered, tests=tests, held_out=held_out, held_out_passages=held, near=NEAR)


def dropped(result: CleanPool) -> dict[str, tuple[str, str]]:
    return {drop.place: (drop.reason, drop.detail) for drop in result.dropped}


def ids(result: CleanPool) -> list[str]:
    return [row.id for rows in result.examples.values() for row in rows]


TEA = example("s/tea/1", "How long does tea draw?", "Four minutes are enough for most leaves.")


def test_overlap_with_a_test_is_dropped_with_the_passage():
    result = cleaned({"s": [TEA]}, tested=("Say how long does tea draw in summer", "four minutes are enough for most"))
    assert dropped(result) == {
        "s/tea/1": ("overlaps_test", "6 words of test.jsonl:1: 'four minutes are enough for most'")
    }


def test_examples_that_quote_a_held_out_example_or_share_its_prompt_are_dropped():
    held = example("s/tea/2", "Why?", FABLE)
    offered = [
        held,
        example("s/tea/3", "What did the fox do?", f"They say {FABLE}."),
        example("s/tea/4", "why", "Because."),
        TEA,
    ]
    result = cleaned({"s": offered}, held_out=(held,))
    assert ids(result) == ["s/tea/1"]
    assert dropped(result)["s/tea/3"] == ("overlaps_held_out", f"15 words of s/tea/2: '{FABLE}'")
    assert dropped(result)["s/tea/4"] == ("same_prompt", "as s/tea/2")


def test_near_duplicate_of_the_first_source_is_kept():
    left, right = (
        example("s/tea/1", "What did the fox do?", FABLE),
        example("t/ale/1", "What did the fox do then?", FABLE),
    )
    first, second = cleaned({"s": [left], "t": [right]}), cleaned({"t": [right], "s": [left]})
    assert (ids(first), ids(second)) == (["s/tea/1"], ["t/ale/1"])
    # 20 and 21 words, so 18 and 19 runs of three; 3 of the prompts and 13 of the answers are shared: 16 of 21
    assert dropped(first) == {"t/ale/1": ("near_duplicate", "of s/tea/1, Jaccard 0.762")}
    assert dropped(second) == {"s/tea/1": ("near_duplicate", "of t/ale/1, Jaccard 0.762")}


@pytest.mark.parametrize("second", ["s/tea/2", "t/ale/1"])  # of the same source, of another one
def test_repeated_prompt_is_dropped(second):
    first = example("s/tea/1", "Why is the sky blue?", "Short waves are scattered more than long ones.")
    again = example(second, "why is the sky BLUE", "Ask a physicist, or wait for the evening.")
    offered = {"s": [first], "t": []}
    offered[second[0]].append(again)
    result = cleaned(offered)
    assert ids(result) == ["s/tea/1"]
    assert dropped(result) == {second: ("same_prompt", "as s/tea/1")}


def test_within_a_source_the_first_by_site_and_pool_order_is_kept():
    same = [example(name, "What did the fox do?", f"{FABLE} {n}") for n, name in enumerate(("s/b/1", "s/a/2", "s/a/1"))]
    assert ids(cleaned({"s": same})) == ["s/a/2"]


def test_candidates_for_the_held_out_set_have_no_overlap_with_a_test():
    tests = NgramIndex([Passage("x", "how long does tea draw")], settings=RUNS)
    assert without_overlap({"s": [TEA, example("s/a/1", "Why?", "So.")]}, tests)["s"][0].id == "s/a/1"


NAMES = st.sampled_from(["s/a", "s/b", "t/a"])
WORDS = st.lists(st.sampled_from("uvwxyz"), min_size=1, max_size=9).map(" ".join)


@given(st.lists(st.tuples(NAMES, WORDS, WORDS), max_size=8), WORDS, st.integers(0, 3), st.integers(0, 3))
def test_every_example_has_one_outcome_and_funnels_add_up(rows, tested, held_count, drawn_count):
    everything = [example(f"{name}/{number}", prompt, answer) for number, (name, prompt, answer) in enumerate(rows)]
    offered = {source: [row for row in everything if row.id.startswith(source)] for source in "st"}
    held_out = everything[:held_count]
    result = cleaned(offered, tested=(tested,), held_out=tuple(held_out))
    gone = [*ids(result), *(drop.place for drop in result.dropped), *(row.id for row in held_out)]
    assert sorted(gone) == sorted(row.id for row in everything)
    train = [row for rows in result.examples.values() for row in rows][:drawn_count]
    for funnel in funnels(
        offered, result, without=[], held_out=held_out, train=train
    ):  # raises if a funnel does not add up
        assert list(funnel.dropped) == [reason for reason in REASONS if reason in funnel.dropped]


def test_examples_with_an_excluded_tag_are_counted():
    offered = {"s": [TEA.model_copy(update={"tags": ("format",)}), example("s/a/1", "Why?", "So.")]}
    result = cleaned({"s": offered["s"][1:]})
    (funnel,) = funnels(offered, result, without=["format"], held_out=[], train=[])
    assert (funnel.offered, funnel.excluded, funnel.left) == (2, 1, 1)


def test_funnel_must_add_up():
    with pytest.raises(ValueError, match="5 offered, but 4 held out, excluded, dropped, drawn or left"):
        PoolFunnel(source="s", offered=5, held_out=1, excluded=0, dropped={"same_prompt": 1}, drawn=1, left=1)
