import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.curation import prompt_selection
from lima.curation.sampling import TooFewExamples
from lima.records import Prompt, Provenance, Turn


def prompt(site: str, number: int, text: str = "", tags: tuple[str, ...] = ()) -> Prompt:
    place = Provenance(source="authored", site=site, id=str(number), url="", author="", license="MIT", digest="")
    turns = (Turn(role="user", content=text or f"{site} {number}?"),)
    return Prompt(id=f"authored/{site}/{number}", messages=turns, tags=tags, provenance=place)


OFFERED = [prompt(site, number) for site in "AB" for number in range(10)]


@given(st.permutations(OFFERED), st.integers(1, 10))
def test_drawn_prompts_do_not_depend_on_the_order_and_belong_to_the_site(offered, count):
    drawn = prompt_selection.draw(offered, "authored/A", count, seed=17)
    assert drawn == prompt_selection.draw(OFFERED, "authored/A", count, seed=17)
    assert len({prompt.id for prompt in drawn}) == count
    assert {prompt.provenance.site for prompt in drawn} == {"A"}


def test_prompts_with_the_lowest_hashes_are_drawn_in_the_order_of_their_hashes():
    # First 53 bits of SHA-256 of "17:authored/A/NUMBER", over 2^53: 5 .163, 3 .225, 6 .359, 7 .399, …, 0 .703, 4 .814
    drawn = prompt_selection.draw(OFFERED, "authored/A", 4, seed=17)
    assert [prompt.provenance.id for prompt in drawn] == ["5", "3", "6", "7"]


@pytest.mark.parametrize("numbers", [(0, 3), (3, 0)])
def test_equal_prompt_with_the_lower_hash_is_drawn(numbers):
    same = [prompt("A", number, "Why?") for number in numbers]  # hashes .703 and .225
    assert [prompt.provenance.id for prompt in prompt_selection.draw(same, "authored/A", 1, seed=17)] == ["3"]


def test_after_selected_prompts_the_next_lowest_hashes_are_drawn():
    first = prompt_selection.draw(OFFERED, "authored/A", 2, seed=17)
    then = prompt_selection.draw(OFFERED, "authored/A", 2, seed=17, selected=first)
    assert [prompt.provenance.id for prompt in first + then] == ["5", "3", "6", "7"]


def test_draw_depends_on_the_seed():
    first, second = (prompt_selection.draw(OFFERED, "authored/A", 5, seed=seed) for seed in (17, 18))
    assert first != second


def test_equal_texts_are_drawn_once():
    same = [prompt("A", 1, "Why?"), prompt("A", 2, "why"), prompt("A", 3, "How?")]
    assert len(prompt_selection.draw(same, "authored/A", 2, seed=17)) == 2
    with pytest.raises(TooFewExamples, match=r"3 prompts requested of source authored, site A, 2 available"):
        prompt_selection.draw(same, "authored/A", 3, seed=17)


FORMED = [prompt("B", number, tags=("kind:form",) if number % 3 else ("kind:list",)) for number in range(12)]


@given(st.permutations(FORMED), st.integers(1, 4), st.integers(1, 4))
def test_group_with_a_tag_excludes_other_tags_and_selected_prompts(offered, some, formed):
    first = prompt_selection.draw(offered, "authored/B", some, seed=17)
    then = prompt_selection.draw(offered, "authored/B/form", formed, seed=17, selected=first)
    assert len({prompt.id for prompt in first + then}) == some + formed
    assert {prompt.tags for prompt in then} == {("kind:form",)}


def test_too_few_prompts_error_names_the_tag():
    with pytest.raises(TooFewExamples, match=r"9 prompts requested of source authored, site B, tag form, 8 available"):
        prompt_selection.draw(FORMED, "authored/B/form", 9, seed=17)


def test_counts_of_a_site_are_summed_over_tags():
    counts = {"authored/B": 17, "authored/B/form": 3, "reddit/AskReddit": 10}
    assert prompt_selection.count_per_site(counts) == {"authored/B": 20, "reddit/AskReddit": 10}


def test_unknown_site_is_an_error():
    with pytest.raises(TooFewExamples, match=r"1 prompts requested of source authored, site C, 0 available"):
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
