import re

import judges
import pytest
from scipy.stats import binomtest

from lima.errors import LimaError
from lima.evaluation import canaries, reliability
from lima.evaluation.reliability import Bounds, Rate
from lima.records import JudgeReply, Judgment, Response

BOUNDS = Bounds(max_unusable_share=0.2, max_inconsistent_share=0.3, max_constant_share=0.95, max_failed_canaries=0.25)
SIDES = ("lima", "base")


def pair(n, in_first_order, in_second_order, *, annotator="judge", contestants=SIDES, reason="unparsed"):
    """A judgment of a pair from the two replies: A, B, T(ie), ? (unparsed) or ! (no reply)."""
    values = {"A": "first", "B": "second", "T": "tie", "?": None, "!": None}
    replies = [
        JudgeReply(
            first=contestants[number],
            value=values[word],
            text="",
            reason={"?": "unparsed", "!": "timed_out"}.get(word),
        )
        for number, word in enumerate((in_first_order, in_second_order))
    ]
    value, missing = judges.combine(replies, contestants[0])
    return Judgment(
        evaluation="e",
        task="pairwise",
        annotator=annotator,
        prompt_id=f"p{n}",
        sample=0,
        contestant=contestants[0],
        rival=contestants[1],
        value=value,
        reason="timed_out" if "!" in (in_first_order, in_second_order) else missing,
        replies=tuple(replies),
    )


def scalar(n, value, *, task="rating", annotator="judge", contestant="lima"):
    reply = JudgeReply(first=None, value=value, text="", reason=None if value else "unparsed")
    return Judgment(
        evaluation="e", task=task, annotator=annotator, prompt_id=f"p{n}", sample=0, contestant=contestant,
        value=value, reason=None if value else "unparsed", replies=(reply,),
    )  # fmt: skip


def measured(judgments, **options):
    return reliability.measure(judgments, **{"lengths": {}, **options})


PAIRS = [
    pair(0, "A", "B"),  # lima wins
    pair(1, "B", "A"),  # base wins
    pair(2, "A", "A"),  # inconsistent
    pair(3, "A", "T"),  # flips, a tie
    pair(4, "T", "T"),
    pair(5, "?", "B"),
    pair(6, "!", "A"),
]


def test_rates_of_pairs():
    result = measured(PAIRS)
    assert result.judgments == 7
    assert result.failed == Rate(1, 14)
    assert result.unparsed == Rate(1, 13)
    assert result.unusable == Rate(2, 7)
    assert result.inconsistent == Rate(1, 5)
    assert result.flips == Rate(2, 5)
    # A, B; B, A; A, A; A; B; A: six A of nine; three ties more
    assert result.first_position == Rate(6, 9)
    assert (result.most_common, result.most_common_value) == (Rate(6, 12), "first")


def test_preference_for_longer_answers_counts_pairs_with_a_winner_and_different_lengths():
    lengths = {
        ("lima", ("p0", 0, 0)): 9,
        ("base", ("p0", 0, 0)): 5,
        ("lima", ("p1", 0, 0)): 9,
        ("base", ("p1", 0, 0)): 3,
    }
    assert measured(PAIRS, lengths=lengths).longer == Rate(1, 2)
    lengths["base", ("p0", 0, 0)] = 9
    assert measured(PAIRS, lengths=lengths).longer == Rate(0, 1)
    assert measured(PAIRS).longer == Rate(0, 0)


def test_preference_for_the_own_model():
    models = {"lima": "m-7b", "base": "m-7b"}
    assert measured(PAIRS, models=models, own_model="m-7b").own == Rate(0, 0)  # both are its own
    models["base"] = "other"
    assert measured(PAIRS, models=models, own_model="m-7b").own == Rate(1, 2)
    assert measured([PAIRS[0]], models=models, own_model="other").own == Rate(0, 1)
    assert measured(PAIRS, models=models, own_model=None).own == Rate(0, 0)


def test_length_correlation_of_ratings():
    ratings = [scalar(n, value) for n, value in enumerate(["1", "3", "6", None])]
    lengths = {("lima", (f"p{n}", 0, 0)): length for n, length in enumerate([10, 20, 900, 5])}
    assert measured(ratings, lengths=lengths).length_correlation == pytest.approx(1.0)
    assert measured(ratings[:1], lengths=lengths).length_correlation is None
    assert (
        measured(
            [scalar(0, "safe", task="safety"), scalar(1, "unsafe", task="safety")], lengths=lengths
        ).length_correlation
        is None
    )


def test_agreement_with_people_is_tie_discounted_and_averages_over_people_and_ignores_the_side():
    people = [
        pair(0, "A", "B", annotator="people"),  # agrees: 1
        pair(1, "T", "T", annotator="people"),  # one tie: ½
        pair(1, "A", "B", annotator="people"),  # opposite: 0
        pair(4, "A", "B", annotator="people", contestants=SIDES[::-1]),  # one tie: ½
        pair(2, "A", "B", annotator="people"),  # the judge has no value
    ]
    agreement = measured(PAIRS, people=people).people
    assert (agreement.items, agreement.value) == (3, pytest.approx((1 + 0.25 + 0.5) / 3))
    mirrored = measured(PAIRS, people=[pair(0, "B", "A", annotator="people", contestants=SIDES[::-1])]).people
    assert (mirrored.items, mirrored.value) == (1, 1.0)
    grades = measured([scalar(0, "5"), scalar(1, "2")], people=[scalar(0, "5"), scalar(1, "3"), scalar(2, "1")]).people
    assert (grades.items, grades.value) == (2, 0.5)
    assert measured(PAIRS).people.value is None


def test_the_interval_of_a_rate_is_wilsons():
    expected = binomtest(3, 10).proportion_ci(0.95, method="wilson")
    assert Rate(3, 10).interval(confidence=0.95) == pytest.approx((expected.low, expected.high))
    assert Rate(0, 0).interval(confidence=0.95) is None
    assert Rate(0, 0).share is None


def judged(answers, *, count=12):
    items = []
    for n, (prompt, reference) in enumerate(zip(judges.prompts(count), judges.references(count), strict=True)):
        ours = reference.model_copy(update={"contestant": "lima"})
        text = reference.text if n % 3 == 0 else "I do not know."
        rival = Response(prompt_id=prompt.id, contestant="base", sample=0, text=text, finish="stop", tokens=None)
        items.append(judges.judge("pairwise", prompt, (ours, rival), answers))
    return items


def canary_results(answers):
    items = canaries.build("pairwise", judges.prompts(6), judges.references(6), seed=1, per_kind=6, trusted=True)
    return canaries.evaluate(items, [judges.judge("pairwise", c.prompt, c.responses, answers) for c in items])


DEFECTS = {
    "always A": (lambda *_: "VERDICT: A", "12 of 12 of its pairs have another winner when the order"),
    "always tie": (lambda *_: "VERDICT: TIE", "24 of 24 of its replies are tie, so it does not distinguish"),
    "unparsed": (lambda *_: "Both are fine.", r"12 of 12 of its judgments have no value \(24 replies without a read"),
}


@pytest.mark.parametrize("with_canaries", [False, True])
@pytest.mark.parametrize("name", DEFECTS)
def test_a_judge_with_a_defect_is_unusable_and_the_reason_is_named(name, with_canaries):
    answers, reason = DEFECTS[name]
    checks = canary_results(answers) if with_canaries else []
    verdict = reliability.usable(measured(judged(answers), canaries=checks), BOUNDS)
    assert not verdict.usable
    assert any(re.search(reason, text) for text in verdict.reasons)
    failing = [text for text in verdict.reasons if "canaries of the kind empty" in text]
    assert failing == (["it fails 6 of 6 canaries of the kind empty"] if with_canaries else [])


def test_an_honest_judge_is_usable():
    checks = canary_results(judges.honest_pair)
    assert reliability.usable(measured(judged(judges.honest_pair), canaries=checks), BOUNDS) == reliability.Usability(
        True, ()
    )


def test_a_constant_value_is_no_defect_if_the_canaries_show_that_the_annotator_discriminates():
    same = [pair(n, "T", "T") for n in range(20)]
    assert not reliability.usable(measured(same), BOUNDS).usable
    assert reliability.usable(measured(same, canaries=canary_results(judges.honest_pair)), BOUNDS).usable


@pytest.mark.parametrize(
    ("bound", "value"),
    [("max_unusable_share", 2 / 7), ("max_inconsistent_share", 1 / 5), ("max_constant_share", 6 / 12)],
)
def test_a_bound_is_the_largest_allowed_share(bound, value):
    wide = dict.fromkeys(Bounds.__dataclass_fields__, 1.0)
    assert reliability.usable(measured(PAIRS), Bounds(**wide | {bound: value})).usable
    assert not reliability.usable(measured(PAIRS), Bounds(**wide | {bound: value - 0.01})).usable


def test_judgments_of_one_annotator_and_task_are_measured():
    with pytest.raises(LimaError, match="judgments of 2 annotators or tasks; reliability is measured for one"):
        measured([PAIRS[0], scalar(0, "5")])
    with pytest.raises(LimaError, match="judgments of 0 annotators"):
        measured([])
