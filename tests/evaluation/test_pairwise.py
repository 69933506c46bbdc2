import pytest

from lima.evaluation import pairwise
from lima.records import JudgeReply, Judgment


def reply(first, value):
    reason = {"unparsed": "unparsed", "failed": "refused"}.get(value)
    text = "" if value == "failed" else "A reply"
    return JudgeReply(first=first, value=None if reason else value, text=text, reason=reason)


def combined(contestant, replies):
    """The outcome of a judgment with these replies."""
    value, reason = pairwise.combine(contestant, replies)
    record = Judgment(
        evaluation="e",
        task="pairwise",
        annotator="m",
        prompt_id="p",
        sample=0,
        contestant=contestant,
        rival="other",
        value=value,
        reason=reason,
        replies=replies,
    )
    return pairwise.outcome(record)


@pytest.mark.parametrize(
    ("shown_first", "shown_second", "outcome"),  # lima's result in each order
    [
        ("win", "win", "win"),
        ("lose", "lose", "lose"),
        ("tie", "tie", "tie"),
        ("win", "tie", "tie"),  # a significant difference appears in both orders
        ("tie", "win", "tie"),
        ("lose", "tie", "tie"),
        ("tie", "lose", "tie"),
        ("win", "lose", "inconsistent"),
        ("lose", "win", "inconsistent"),
        ("unparsed", "win", "unparsed"),
        ("lose", "unparsed", "unparsed"),
        ("unparsed", "tie", "unparsed"),
        ("unparsed", "unparsed", "unparsed"),
        ("failed", "win", "failed"),
        ("tie", "failed", "failed"),
        ("failed", "unparsed", "failed"),
    ],
)
def test_two_judgments_are_combined_into_one_outcome(shown_first, shown_second, outcome):
    as_first = {"win": "first", "lose": "second", "tie": "tie", "unparsed": "unparsed", "failed": "failed"}
    as_second = as_first | {"win": "second", "lose": "first"}
    ballots = (reply("lima", as_first[shown_first]), reply("base", as_second[shown_second]))
    assert combined("lima", ballots) == outcome
    mirrored = {"win": "lose", "lose": "win"}.get(outcome, outcome)
    assert combined("base", ballots) == mirrored
