import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.curation import prompt_selection
from lima.curation.sampling import TooFewExamples
from lima.records import Prompt, Provenance, Turn


def prompt(site: str, number: int, text: str = "", tags: tuple[str, ...] = ()) -> Prompt:
    place = Provenance(source="authored", site=site, id=str(number), url="", author="", licence="MIT", digest="")
    turns = (Turn(role="user", content=text or f"{site} {number}?"),)
    return Prompt(id=f"authored/{site}/{number}", messages=turns, tags=tags, provenance=place)


OFFERED = [prompt(site, number) for site in "AB" for number in range(10)]


@given(st.permutations(OFFERED), st.integers(1, 10))
def test_the_same_prompts_are_drawn_in_whatever_order_they_come_and_of_one_site(offered, count):
    drawn = prompt_selection.draw(offered, "authored/A", count, seed=17)
    assert drawn == prompt_selection.draw(OFFERED, "authored/A", count, seed=17)
    assert len({p.id for p in drawn}) == count
    assert {p.provenance.site for p in drawn} == {"A"}


def test_the_prompts_with_the_lowest_shares_are_drawn_in_the_order_of_their_shares():
    # First 53 bits of SHA-256 of "17:authored/A/NUMBER", over 2^53: 5 .163, 3 .225, 6 .359, 7 .399, …, 0 .703, 4 .814
    drawn = prompt_selection.draw(OFFERED, "authored/A", 4, seed=17)
    assert [p.provenance.id for p in drawn] == ["5", "3", "6", "7"]


@pytest.mark.parametrize("numbers", [(0, 3), (3, 0)])
def test_of_two_prompts_with_one_text_the_one_with_the_lower_share_is_drawn(numbers):
    same = [prompt("A", number, "Why?") for number in numbers]  # shares .703 and .225
    assert [p.provenance.id for p in prompt_selection.draw(same, "authored/A", 1, seed=17)] == ["3"]


def test_after_taken_prompts_the_next_lowest_shares_are_drawn():
    first = prompt_selection.draw(OFFERED, "authored/A", 2, seed=17)
    then = prompt_selection.draw(OFFERED, "authored/A", 2, seed=17, taken=first)
    assert [p.provenance.id for p in first + then] == ["5", "3", "6", "7"]


def test_another_seed_draws_others():
    first, second = (prompt_selection.draw(OFFERED, "authored/A", 5, seed=seed) for seed in (17, 18))
    assert first != second


def test_the_same_text_is_drawn_once():
    same = [prompt("A", 1, "Why?"), prompt("A", 2, "why"), prompt("A", 3, "How?")]
    assert len(prompt_selection.draw(same, "authored/A", 2, seed=17)) == 2
    with pytest.raises(
        TooFewExamples, match=r"3 prompts wanted of source authored, site A, 2 there that are not drawn yet"
    ):
        prompt_selection.draw(same, "authored/A", 3, seed=17)


FORMED = [prompt("B", number, tags=("kind:form",) if number % 3 else ("kind:list",)) for number in range(12)]


@given(st.permutations(FORMED), st.integers(1, 4), st.integers(1, 4))
def test_a_tag_narrows_a_site_and_what_is_taken_is_not_drawn_again(offered, some, formed):
    first = prompt_selection.draw(offered, "authored/B", some, seed=17)
    then = prompt_selection.draw(offered, "authored/B/form", formed, seed=17, taken=first)
    assert len({p.id for p in first + then}) == some + formed
    assert {p.tags for p in then} == {("kind:form",)}


def test_too_few_of_a_tag_are_told_with_it():
    with pytest.raises(TooFewExamples, match=r"9 prompts wanted of source authored, site B, tag form, 8 there"):
        prompt_selection.draw(FORMED, "authored/B/form", 9, seed=17)


def test_groups_of_one_site_add_up_whatever_tags_they_ask_for():
    counts = {"authored/B": 17, "authored/B/form": 3, "reddit/AskReddit": 10}
    assert prompt_selection.of_each_site(counts) == {"authored/B": 20, "reddit/AskReddit": 10}


def test_a_site_that_is_not_there_is_told():
    with pytest.raises(TooFewExamples, match=r"1 prompts wanted of source authored, site C, 0 there"):
        prompt_selection.draw(OFFERED, "authored/C", 1, seed=17)


def test_dev_and_test_share_neither_id_nor_text():
    prompt_selection.check_disjoint(OFFERED[:10], OFFERED[10:])
    with pytest.raises(
        prompt_selection.SharedPrompt, match=r"dev and test share 2 prompt\(s\) by id, first authored/A/8"
    ):
        prompt_selection.check_disjoint(OFFERED[:10], OFFERED[8:])
    with pytest.raises(
        prompt_selection.SharedPrompt, match=r"1 prompt\(s\) by text, first authored/A/1 and authored/B/2: 'why not'"
    ):
        prompt_selection.check_disjoint([prompt("A", 1, "Why not?")], [prompt("B", 2, "why NOT")])
