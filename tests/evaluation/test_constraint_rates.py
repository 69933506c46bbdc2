"""Share of answers that satisfy their constraint."""

import pytest

from lima.evaluation.constraint_rates import constraint_rates


def test_the_share_is_of_answers_and_its_interval_of_prompts():
    answers = [("a", (None,)), ("a", (None,)), ("b", ("4 lines, not 5",)), ("b", (None,))]
    rate = constraint_rates({"lima": answers}, confidence=0.95)["lima"]
    assert (rate.kept, rate.answers, rate.share) == (3, 4, 0.75)
    # Wilson at 0.75 of 2 prompts, z² = 3.8415: (0.75 + 0.9604 ± 1.96·√(0.1875/2 + 0.9604/4)) / 2.9207
    assert (rate.interval.low, rate.interval.high) == pytest.approx((0.1979, 0.9733), abs=5e-4)


def test_the_first_violation_of_each_prompt_is_returned():
    answers = [("a", (None, None)), ("a", (None, "first")), ("a", ("second", None)), ("b", ("third", "fourth"))]
    assert constraint_rates({"lima": answers}, confidence=0.95)["lima"].faults == {"a": "first", "b": "third"}


def test_contestants_without_an_answer_are_left_out():
    assert constraint_rates({"lima": [], "base": [("a", (None,))]}, confidence=0.95).keys() == {"base"}


def test_instructions_count_one_by_one_and_a_prompt_only_if_all_are_satisfied():
    rate = constraint_rates({"lima": [("a", (None, "x", None)), ("b", (None,))]}, confidence=0.95)["lima"]
    assert (rate.kept, rate.answers, rate.share) == (1, 2, 0.5)
    assert (rate.instructions_kept, rate.instructions, rate.instruction_share) == (3, 4, 0.75)
