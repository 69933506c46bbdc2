"""Flags of people who judge fast, uniformly or without attention; self-agreement."""

from sample_study import NAMES, settings

from lima.annotation.quality import summarize
from lima.records import Annotation


def record(number, value="win", *, first=NAMES[0], person="ann", seconds=9.0, kind="main", reason=""):
    return Annotation(
        id=f"{person}-{kind}-{number}",
        evaluation="e",
        task="pairwise",
        person=person,
        prompt_id=f"p{number}",
        sample=0,
        contestant=NAMES[0],
        rival=NAMES[1],
        texts="0",
        first=first,
        value=value,
        reason=reason,
        seconds=seconds,
        time=f"2026-01-01T00:00:{number:02}Z",
        kind=kind,
    )


def flags(records):
    return [summary.flags for summary in summarize(records, settings(min_flagged=10, min_seconds=5.0))]


def test_a_median_time_below_the_limit_is_flagged_once_there_are_enough_items():
    mixed = ["win", "lose"]
    assert flags([record(n, mixed[n % 2], seconds=2.0) for n in range(10)]) == [("fast",)]
    assert flags([record(n, mixed[n % 2], seconds=2.0) for n in range(9)]) == [()]
    # median of 4 · 2.0 and 6 · 9.0 seconds is 9.0
    assert flags([record(n, mixed[n % 2], seconds=2.0 if n < 4 else 9.0) for n in range(10)]) == [()]


def test_one_side_on_all_items_is_flagged_even_if_the_outcomes_differ():
    left = [record(n, "win" if n % 2 else "lose", first=NAMES[0] if n % 2 else NAMES[1]) for n in range(10)]
    assert flags(left) == [("uniform",)]
    one_contestant = [record(n, "win", first=NAMES[n % 2]) for n in range(10)]
    assert flags(one_contestant) == [()]


def test_a_failed_attention_check_is_flagged():
    passed = record(1, "win", kind="attention", reason="expected first")
    failed = record(2, "lose", kind="attention", reason="expected first")
    assert flags([record(0), passed]) == [()]
    assert flags([record(0), passed, failed]) == [("inattentive",)]
    assert summarize([passed, failed], settings())[0].attention == (1, 2)


def test_self_agreement_compares_outcomes_not_sides():
    repeats = [
        record(0, "win", first=NAMES[1], kind="repeat"),  # the same outcome with the sides exchanged
        record(1, "lose", first=NAMES[1], kind="repeat"),
    ]
    (summary,) = summarize([record(0), record(1), *repeats], settings())
    assert summary.repeats == (1, 2) and summary.judged == 2


def test_skipped_items_have_no_value_to_summarize():
    (summary,) = summarize([record(0, None, reason="unclear")], settings())
    assert (summary.judged, summary.skipped, summary.seconds, summary.uniform) == (0, 1, None, None)
