import pytest
from hypothesis import given
from hypothesis import strategies as st

from lima.config.entries import FloorAnnotator
from lima.evaluation import baselines, pairwise
from lima.records import Response


def response(text, *, contestant="lima", finish="stop", prompt_id="p", sample=0):
    return Response(prompt_id=prompt_id, contestant=contestant, sample=sample, text=text, finish=finish, tokens=None)


def outcome(rule, mine, theirs):
    decide = baselines.rule(FloorAnnotator(kind="floor", rule=rule), seed=17)
    return pairwise.outcome("lima", baselines.ballots(mine, theirs, decide))


texts = st.text(alphabet="ab ", max_size=30)
finishes = st.sampled_from(["stop", "length"])


@given(st.sampled_from(["longest", "random", "always-tie", "finished"]), texts, texts, finishes, finishes, st.text())
def test_a_floor_never_changes_its_mind_with_the_order(rule, mine, theirs, my_finish, their_finish, prompt_id):
    a = response(mine, finish=my_finish, prompt_id=prompt_id)
    b = response(theirs, contestant="base", finish=their_finish, prompt_id=prompt_id)
    assert outcome(rule, a, b) in ("win", "tie", "lose")


@pytest.mark.parametrize(("mine", "theirs", "wanted"), [("abc", "ab", "win"), ("a", "ab", "lose"), ("äö", "ab", "tie")])
def test_longest_counts_characters(mine, theirs, wanted):
    assert outcome("longest", response(mine), response(theirs, contestant="base")) == wanted


def test_always_tie_ties():
    assert outcome("always-tie", response("abc"), response("", contestant="base")) == "tie"


def test_a_coin_is_fair_and_falls_anew_for_every_prompt_and_sample():
    prompts = [(f"p{number}", sample) for number in range(500) for sample in (0, 1)]
    said = [
        outcome(
            "random",
            response("a", prompt_id=prompt_id, sample=sample),
            response("b", contestant="base", prompt_id=prompt_id, sample=sample),
        )
        for prompt_id, sample in prompts
    ]
    # 1000 throws: 500 ± 4 · √250 ≈ 437 to 563
    assert 437 < said.count("win") < 563
    assert said.count("tie") == 0
    assert any(said[n] != said[n + 1] for n in range(0, 1000, 2))


def test_a_repeated_share_is_that_of_the_runs_of_four_words_seen_before():
    assert baselines.repeated("a b c") == 0
    assert baselines.repeated("a b c d e f g") == 0
    # a b c d a b c d: five runs, of which a b c d comes twice: 1 of 5
    assert baselines.repeated("a b c d a b c d") == pytest.approx(1 / 5)
    # a a a a a a: three runs, all the same: 2 of 3
    assert baselines.repeated("a a a a a a") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("mine", "my_finish", "theirs", "their_finish", "wanted"),
    [
        ("short", "stop", "a long one without end", "length", "win"),
        ("a a a a a a a a", "stop", "a b c d e f g h", "length", "win"),  # to end weighs more than to repeat
        ("a b c d e f g h", "stop", "a a a a a a a a", "stop", "win"),
        ("a a a a a a a a", "length", "a b c d e f g h", "length", "lose"),
        ("one two", "stop", "three", "stop", "tie"),
        (" \n", "stop", "a long one without end", "length", "tie"),  # what never began has not finished
        ("", "stop", "an answer", "stop", "lose"),
    ],
)
def test_finished_looks_at_the_end_and_then_at_repetition(mine, my_finish, theirs, their_finish, wanted):
    a, b = response(mine, finish=my_finish), response(theirs, contestant="base", finish=their_finish)
    assert outcome("finished", a, b) == wanted


def test_a_difference_in_repetition_below_a_twentieth_is_a_tie():
    words = " ".join(f"w{number}" for number in range(41))
    # w0 … w40 w0 w1 w2 w3: 42 runs, one of them twice: 1/42 = .024; with w4 w5 too: 3/44 = .068
    assert outcome("finished", response(words), response(f"{words} w0 w1 w2 w3", contestant="base")) == "tie"
    assert outcome("finished", response(words), response(f"{words} w0 w1 w2 w3 w4 w5", contestant="base")) == "win"
