"""Shares of answers that keep their form."""

import pytest

from lima.evaluation.constraint_rates import constraint_rates


def test_the_share_is_of_answers_and_its_interval_of_prompts():
    found = [("a", None), ("a", None), ("b", "4 lines, not 5"), ("b", None)]
    of = constraint_rates({"lima": found}, confidence=0.95)["lima"]
    assert (of.kept, of.answers, of.share) == (3, 4, 0.75)
    # Wilson at 0.75 of 2 prompts, z² = 3.8415: (0.75 + 0.9604 ± 1.96·√(0.1875/2 + 0.9604/4)) / 2.9207
    assert (of.interval.low, of.interval.high) == pytest.approx((0.1979, 0.9733), abs=5e-4)


def test_of_each_prompt_the_fault_of_the_first_broken_answer_is_told():
    found = [("a", None), ("a", "first"), ("a", "second"), ("b", "third")]
    assert constraint_rates({"lima": found}, confidence=0.95)["lima"].faults == {"a": "first", "b": "third"}


def test_who_answered_no_such_prompt_stands_nowhere():
    assert constraint_rates({"lima": [], "base": [("a", None)]}, confidence=0.95).keys() == {"base"}
