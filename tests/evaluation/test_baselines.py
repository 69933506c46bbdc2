import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.config.entries import BaselineAnnotator
from lima.evaluation import baselines, pairwise
from lima.records import Response


def response(text, *, contestant="lima", finish="stop", prompt_id="p", sample=0):
    return Response(prompt_id=prompt_id, contestant=contestant, sample=sample, text=text, finish=finish, tokens=None)


def outcome(rule, ours, other):
    decide = baselines.rule(BaselineAnnotator(kind="baseline", rule=rule), seed=17)
    return pairwise.combine("lima", baselines.judge(ours, other, decide))[0]


texts = st.text(alphabet="ab ", max_size=30)
finishes = st.sampled_from(["stop", "length"])


@given(st.sampled_from(["longest", "random", "always-tie", "finished"]), texts, texts, finishes, finishes, st.text())
def test_a_baseline_does_not_depend_on_the_order(rule, text, other, finish, other_finish, prompt_id):
    a = response(text, finish=finish, prompt_id=prompt_id)
    b = response(other, contestant="base", finish=other_finish, prompt_id=prompt_id)
    assert outcome(rule, a, b) in ("win", "tie", "lose")


@pytest.mark.parametrize(
    ("text", "other", "expected"), [("abc", "ab", "win"), ("a", "ab", "lose"), ("äö", "ab", "tie")]
)
def test_longest_counts_characters(text, other, expected):
    assert outcome("longest", response(text), response(other, contestant="base")) == expected


def test_always_tie_ties():
    assert outcome("always-tie", response("abc"), response("", contestant="base")) == "tie"


def test_random_is_fair_and_independent_for_every_prompt_and_sample():
    prompts = [(f"p{number}", sample) for number in range(500) for sample in (0, 1)]
    outcomes = [
        outcome(
            "random",
            response("a", prompt_id=prompt_id, sample=sample),
            response("b", contestant="base", prompt_id=prompt_id, sample=sample),
        )
        for prompt_id, sample in prompts
    ]
    # 1000 throws: 500 ± 4 · √250 ≈ 437 to 563
    assert 437 < outcomes.count("win") < 563
    assert outcomes.count("tie") == 0
    assert any(outcomes[n] != outcomes[n + 1] for n in range(0, 1000, 2))


def test_repetition_is_the_share_of_repeated_four_grams():
    assert baselines.repeated("a b c") == 0
    assert baselines.repeated("a b c d e f g") == 0
    # a b c d a b c d: five runs, of which a b c d comes twice: 1 of 5
    assert baselines.repeated("a b c d a b c d") == pytest.approx(1 / 5)
    # a a a a a a: three runs, all the same: 2 of 3
    assert baselines.repeated("a a a a a a") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "finish", "other", "other_finish", "expected"),
    [
        ("short", "stop", "a long one without end", "length", "win"),
        ("a a a a a a a a", "stop", "a b c d e f g h", "length", "win"),  # truncation outweighs repetition
        ("a b c d e f g h", "stop", "a a a a a a a a", "stop", "win"),
        ("a a a a a a a a", "length", "a b c d e f g h", "length", "lose"),
        ("one two", "stop", "three", "stop", "tie"),
        (" \n", "stop", "a long one without end", "length", "tie"),  # an empty response counts as truncated
        ("", "stop", "an answer", "stop", "lose"),
    ],
)
def test_finished_compares_truncation_first_and_then_repetition(text, finish, other, other_finish, expected):
    a, b = response(text, finish=finish), response(other, contestant="base", finish=other_finish)
    assert outcome("finished", a, b) == expected


def test_a_difference_in_repetition_below_a_twentieth_is_a_tie():
    words = " ".join(f"w{number}" for number in range(41))
    # w0 … w40 w0 w1 w2 w3: 42 runs, one of them twice: 1/42 = .024; with w4 w5 too: 3/44 = .068
    assert outcome("finished", response(words), response(f"{words} w0 w1 w2 w3", contestant="base")) == "tie"
    assert outcome("finished", response(words), response(f"{words} w0 w1 w2 w3 w4 w5", contestant="base")) == "win"
