from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.curation import mixture, sampling
from lima.records import Example, Prompt, Provenance, Turn
from lima.text import normalize

SIZES = {"large": 64, "middle": 27, "small": 8}


def example(source: str, site: str, number: int, *, prompt: str = "") -> Example:
    place = Provenance(source=source, site=site, id=str(number), url="", author="", license="MIT", digest="")
    user = Turn(role="user", content=prompt or f"{source} {site} {number}?")
    turns = (user, Turn(role="assistant", content="Yes."))
    return Example(id=f"{source}/{site}/{number}", messages=turns, tags=(), provenance=place)


def pool(source: str, sizes: dict[str, int]) -> list[Example]:
    return [example(source, site, number) for site, size in sizes.items() for number in range(size)]


def compose(offered, counts, *, held_out=(), most_per_site=None, seed=17, shuffle=False):
    most = most_per_site or {}
    return mixture.compose(
        offered, counts, held_out=held_out, most_per_site=most, temperature=3.0, seed=seed, shuffle=shuffle
    )


def ids(examples) -> list[str]:
    return [example.id for example in examples]


def test_sites_are_drawn_in_proportion_to_the_cube_root_of_their_size():
    # cube roots 4, 3, 2 of 9; three draws cannot empty a site. 1,000 seeds × 3 draws: 1,333, 1,000, 667;
    # standard deviations √(3,000 p (1 − p)) ≈ 27, 26, 23; five of them either side
    drawn: Counter[str] = Counter()
    for seed in range(1000):
        train, _ = compose({"s": pool("s", SIZES)}, {"s": 3}, seed=seed)
        drawn.update(example.provenance.site for example in train)
    assert abs(drawn["large"] - 1333) < 135
    assert abs(drawn["middle"] - 1000) < 130
    assert abs(drawn["small"] - 667) < 115


def test_card_has_drawn_and_expected_examples_by_site():
    train, sites = compose({"s": pool("s", SIZES)}, {"s": 18})
    # 18 draws at 4/9, 3/9, 2/9
    assert {site: share.expected for site, share in sites["s"].items()} == {"large": 8.0, "middle": 6.0, "small": 4.0}
    assert {site: share.available for site, share in sites["s"].items()} == SIZES
    assert {site: share.drawn for site, share in sites["s"].items()} == Counter(e.provenance.site for e in train)
    card = mixture.card("lima", "kept", train, sites, held_out=3)
    assert (card.examples, card.sources, card.licenses, card.dialogues) == (18, {"s": 18}, {"MIT": 18}, 0)
    assert card.response_chars == {"s": 4.0}


@given(st.permutations(sorted(SIZES)))
def test_the_order_of_the_sites_changes_nothing(order):
    shuffled = pool("s", {site: SIZES[site] for site in order})
    assert ids(compose({"s": shuffled}, {"s": 40})[0]) == ids(compose({"s": pool("s", SIZES)}, {"s": 40})[0])


def test_examples_with_excluded_tags_are_removed_in_order():
    rows = pool("s", {"site": 4})
    rows[1], rows[2] = (row.model_copy(update={"tags": ("kind:list", "format")}) for row in rows[1:3])
    left = mixture.exclude_tags({"s": rows, "t": rows[:1]}, ["format"])
    assert {source: ids(examples) for source, examples in left.items()} == {
        "s": ["s/site/0", "s/site/3"],
        "t": ["s/site/0"],
    }
    assert mixture.exclude_tags({"s": rows}, []) == {"s": rows}


def test_unused_excluded_tag_is_an_error():
    with pytest.raises(mixture.NoSuchTag, match=r"no example of s has the tag 'formats'; correct the arm's"):
        mixture.exclude_tags({"s": pool("s", SIZES)}, ["formats"])


def test_within_a_site_the_best_come_first():
    train, _ = compose({"s": pool("s", SIZES)}, {"s": 30})
    for site in SIZES:
        numbers = [int(e.provenance.id) for e in train if e.provenance.site == site]
        assert numbers == list(range(len(numbers)))


def test_a_larger_arm_contains_a_smaller_one_and_another_source_changes_no_draw():
    offered = {"s": pool("s", SIZES), "t": pool("t", SIZES)}
    small, large, both = (ids(compose(offered, counts)[0]) for counts in ({"s": 10}, {"s": 20}, {"t": 5, "s": 10}))
    assert large[:10] == small == both[5:]


@pytest.mark.parametrize("shuffle", [False, True])
@given(small=st.integers(1, 98), more=st.integers(1, 98), seed=st.integers(0, 3))
def test_sets_of_doubling_size_are_nested(shuffle, small, more, seed):
    large = min(small + more, sum(SIZES.values()))
    offered = {"s": pool("s", SIZES)}
    sets = [set(ids(compose(offered, {"s": size}, seed=seed, shuffle=shuffle)[0])) for size in (small, large)]
    assert sets[0] < sets[1]


def test_random_order_draws_other_examples_of_a_site_with_another_seed():
    offered = {"s": pool("s", {"site": 60})}
    drawn = [set(ids(compose(offered, {"s": 20}, seed=seed, shuffle=True)[0])) for seed in (17, 18)]
    best = [set(ids(compose(offered, {"s": 20}, seed=seed)[0])) for seed in (17, 18)]
    assert best[0] == best[1] == {f"s/site/{n}" for n in range(20)}
    # 20 of 60 twice: hypergeometric, 6.7 in common on average, standard deviation 1.7
    assert len(drawn[0] & drawn[1]) < 15
    assert drawn[0] == set(ids(compose({"s": offered["s"][::-1]}, {"s": 20}, shuffle=True)[0]))


def test_site_contributes_at_most_its_limit():
    train, sites = compose({"s": pool("s", SIZES)}, {"s": 3}, most_per_site={"s": 1})
    assert sorted(ids(train)) == ["s/large/0", "s/middle/0", "s/small/0"]
    # equal sizes, so each of 3 draws has 1/3
    assert {share.expected for share in sites["s"].values()} == {1.0}


def test_held_out_examples_are_the_same_for_every_arm_and_in_none():
    kept = {"s": pool("s", SIZES)}
    held = mixture.held_out(kept, {"s": 20}, temperature=3.0, seed=17)
    assert ids(held) == ids(mixture.held_out({"s": kept["s"][::-1]}, {"s": 20}, temperature=3.0, seed=17))
    train, _ = compose(kept, {"s": 79}, held_out=held)  # 99 in all
    assert sorted(ids(train) + ids(held)) == sorted(ids(kept["s"]))


def test_an_example_with_the_prompt_of_a_held_out_one_is_in_no_arm():
    offered = [example("s", "a", 1, prompt="How is beer made?"), example("s", "a", 2)]
    held = [example("t", "b", 9, prompt="how is  beer made")]
    assert ids(compose({"s": offered}, {"s": 1}, held_out=held)[0]) == ["s/a/2"]


def test_a_held_out_example_is_in_no_arm_even_if_its_prompt_was_reworded():
    held = [example("s", "a", 1, prompt="And how is beer made?")]
    assert ids(compose({"s": pool("s", {"a": 3})}, {"s": 2}, held_out=held)[0]) == ["s/a/0", "s/a/2"]


def test_choice_between_equal_prompts_does_not_depend_on_the_order_of_sites():
    twice = [example("s", "a", 1, prompt="Why?"), example("s", "b", 2, prompt="why")]
    assert ids(compose({"s": twice}, {"s": 1})[0]) == ids(compose({"s": twice[::-1]}, {"s": 1})[0]) == ["s/a/1"]


def test_no_prompt_is_in_an_arm_twice_within_a_source_or_across():
    twice = [example("s", "a", 1, prompt="Why?"), example("s", "b", 2, prompt="why"), example("s", "b", 3)]
    other = [example("t", "a", 1, prompt="WHY?!"), example("t", "a", 2)]
    train, _ = compose({"s": twice, "t": other}, {"s": 2, "t": 1})
    assert sorted(ids(train)) == ["s/a/1", "s/b/3", "t/a/2"]


def test_too_few_examples_error_names_source_request_and_available():
    with pytest.raises(
        sampling.TooFewExamples, match=r"s: 9 requested, 3 available: \{'a': 1, 'b': 2\}; request fewer"
    ):
        compose({"s": pool("s", {"b": 2, "a": 1})}, {"s": 9})


@given(st.text())
def test_normalisation_is_idempotent(text):
    once = normalize.normalize(text)
    assert normalize.normalize(once) == once


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("How is beer made?", " how  is BEER made", True),
        ("How is wine made?", "How is beer made?", False),
        ("C++?", "C#?", True),  # signs fall: in doubt a prompt counts as seen
        ("?!", "?", False),
        ("日本語は?", "日本語は", True),
        ("ﬁne", "fine", True),
    ],
)
def test_prompts_are_the_same_text_by_their_letters_and_digits(left, right, same):
    assert (normalize.normalize(left) == normalize.normalize(right)) is same


def test_prompt_and_example_are_compared_by_their_prompt():
    record = example("s", "a", 1, prompt="Why?")
    fields = record.model_dump() | {"messages": record.messages[:1], "provenance": record.provenance}
    assert normalize.comparison_key(record) == normalize.comparison_key(Prompt.model_validate(fields))


def test_probabilities_of_sites_add_up_to_one():
    assert np.isclose(sum(sampling.probabilities(SIZES, temperature=3.0).values()), 1)
