"""Records of pairwise judgments for tests."""

from lima.records import JudgeReply, Judgment


def judged(
    outcome: str,
    prompt: str,
    *,
    sample: int = 0,
    evaluation: str = "a-b",
    annotator: str = "judge",
    contestant: str = "a",
    rival: str = "b",
) -> Judgment:
    """A judgment with an outcome: a value, inconsistent, unparsed or failed (timed out)."""
    reasons = {"inconsistent": "inconsistent", "unparsed": "unparsed", "failed": "timed_out"}
    text, value = ("", None) if outcome == "failed" else ("A reply", None if outcome == "unparsed" else "tie")
    reply = JudgeReply(first=contestant, value=value, text=text, reason=None if value else reasons[outcome])
    return Judgment(
        evaluation=evaluation,
        task="pairwise",
        annotator=annotator,
        prompt_id=prompt,
        sample=sample,
        contestant=contestant,
        rival=rival,
        value=None if outcome in reasons else outcome,
        reason=reasons.get(outcome),
        replies=(reply, reply),
    )
