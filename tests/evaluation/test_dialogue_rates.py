import pytest

from lima.evaluation.dialogue_rates import DialogueComparison, compare_dialogues, dialogue_rates
from lima.records import Judgment


def graded(contestant, dialogue, *grades, person=None):
    return [
        Judgment(
            evaluation="dialogues",
            task="dialogue",
            annotator="people",
            person=person,
            prompt_id=dialogue,
            sample=0,
            turn=turn,
            contestant=contestant,
            value=grade,
            reason=None if grade else "unparsed",
        )
        for turn, grade in enumerate(grades)
    ]


def test_shares_are_of_graded_responses():
    judgments = graded("lima", "s1", "excellent", "fail", None) + graded("lima", "s2", "excellent", "pass", "excellent")
    rates = dialogue_rates(judgments, confidence=0.95)["lima"]
    assert rates.grades == {"fail": 1, "pass": 1, "excellent": 3}
    assert (rates.dialogues, rates.missing) == (2, 1)
    assert (rates.shares["excellent"].value, rates.shares["fail"].value) == (3 / 5, 1 / 5)
    assert (rates.shares["fail"].count, rates.shares["fail"].prompts) == (5, 2)
    assert rates.shares["fail"].interval.low < 1 / 5 < rates.shares["fail"].interval.high


def test_responses_of_one_dialogue_are_a_cluster():
    """Ten dialogues that fail or succeed as a whole carry the information of ten responses, not of forty."""
    whole = [row for n in range(10) for row in graded("a", f"s{n}", *["fail" if n < 5 else "excellent"] * 4)]
    mixed = [row for n in range(10) for row in graded("a", f"s{n}", "fail", "fail", "excellent", "excellent")]
    widths = []
    for judgments in (whole, mixed):
        interval = dialogue_rates(judgments, confidence=0.95)["a"].shares["fail"].interval
        widths.append(interval.high - interval.low)
    assert widths[0] > 1.5 * widths[1]


@pytest.mark.parametrize(
    ("grades", "first"),
    [
        (("pass", "excellent", "pass"), None),
        (("fail", "pass", "fail"), 1),
        (("pass", "pass", "fail"), 3),
        (("pass", "fail", None), 2),
    ],
)
def test_the_first_failing_exchange_counts_from_one(grades, first):
    rates = dialogue_rates(graded("lima", "s1", *grades), confidence=0.95)["lima"]
    assert rates.first_failures == {("s1", 0): first}
    assert rates.undetermined == ()


def test_a_missing_grade_before_any_failure_leaves_the_first_failure_open():
    rates = dialogue_rates(graded("lima", "s1", "pass", None, "fail"), confidence=0.95)["lima"]
    assert rates.first_failures == {}
    assert rates.undetermined == (("s1", 0),)


def test_failed_within_counts_the_dialogues_that_fail_early():
    judgments = [*graded("a", "s1", "fail", "pass", "pass", "pass"), *graded("a", "s2", "pass", "pass", "pass", "fail")]
    judgments += [*graded("a", "s3", "pass", "pass", "fail"), *graded("a", "s4", "pass")]
    rates = dialogue_rates(judgments, confidence=0.95)["a"]
    failed, interval = rates.failed_within(3, confidence=0.95)
    assert failed == 2  # s1 and s3 of 4
    assert interval.low < 2 / 4 < interval.high


def test_without_grades_there_is_no_share():
    rates = dialogue_rates(graded("a", "s1", None, None), confidence=0.95)["a"]
    assert (rates.shares, rates.missing) == ({}, 2)
    assert rates.failed_within(3, confidence=0.95) is None


def test_the_median_of_several_people_counts():
    judgments = [
        row
        for person, grade in (("p1", "excellent"), ("p2", "fail"), ("p3", "excellent"))
        for row in graded("a", "s1", grade, person=person)
    ]
    assert dialogue_rates(judgments, confidence=0.95)["a"].grades == {"fail": 0, "pass": 0, "excellent": 1}
    assert dialogue_rates(judgments[:2], confidence=0.95)["a"].grades["fail"] == 1


def test_dialogues_are_compared_by_their_mean_grade():
    judgments = graded("a", "s1", "excellent", "pass") + graded("b", "s1", "pass", "pass")
    judgments += graded("a", "s2", "pass") + graded("b", "s2", "fail", "excellent")
    judgments += graded("a", "s3", "fail") + graded("b", "s3", "pass")
    judgments += graded("a", "s4", "excellent", None) + graded("b", "s4", "fail", "fail")  # incomplete
    assert compare_dialogues(judgments, "a", "b") == DialogueComparison(win=1, tie=1, lose=1)
