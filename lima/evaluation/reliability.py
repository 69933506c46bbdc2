"""Reliability of an annotator: position and length bias, missing verdicts, canaries, agreement with people (§4).

An annotator whose figures exceed the configured bounds is unusable: its judgments are shown, but support no conclusion.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lima.errors import LimaError
from lima.evaluation.canaries import CanaryResult
from lima.evaluation.tasks import TASKS
from lima.records import JudgeReply, Judgment, Task

Position = tuple[str, int, int]  # prompt id, sample, turn


@dataclass(frozen=True)
class Rate:
    """A share with its counts."""

    count: int
    of: int

    @property
    def share(self) -> float | None:
        """None without observations."""
        return self.count / self.of if self.of else None

    def interval(self, *, confidence: float) -> tuple[float, float] | None:
        """Wilson score interval of the share; None without observations."""
        if not self.of:
            return None
        from scipy.stats import binomtest  # half a second, which only reports pay for

        interval = binomtest(self.count, self.of).proportion_ci(confidence, method="wilson")
        return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Agreement:
    """Mean agreement with people over shared items, 0 to 1: tie-discounted for pairs (§4), else equality."""

    value: float | None
    items: int
    by_item: Mapping[tuple[object, ...], float] = field(default_factory=dict)  # for intervals


@dataclass(frozen=True)
class Reliability:
    """Figures of one annotator in one evaluation. Rates of pairs are empty for other tasks."""

    annotator: str
    task: Task
    judgments: int
    failed: Rate  # replies that did not arrive
    unparsed: Rate  # of the replies that arrived: no readable verdict, or truncated
    unusable: Rate  # judgments without a value, for any reason but inconsistency
    inconsistent: Rate  # of the pairs with two readable replies: another winner in the other order
    flips: Rate  # of the same pairs: any other verdict in the other order
    first_position: Rate  # of the readable replies that prefer one answer: the answer shown first
    most_common: Rate  # of the readable replies: those with the most frequent value
    most_common_value: str | None
    longer: Rate  # of the pairs with a winner and different lengths: the longer answer wins
    length_correlation: float | None  # scalar, ordered tasks: Spearman's ρ of value and length in characters
    own: Rate  # of the pairs with a winner and one answer by the annotator's own model: that answer wins
    people: Agreement
    canaries: tuple[CanaryResult, ...]


@dataclass(frozen=True)
class Bounds:
    """Largest values of a usable annotator; all are shares from 0 to 1 (params.yaml, section judge)."""

    max_unusable_share: float  # judgments without a value
    max_inconsistent_share: float  # pairs
    max_constant_share: float  # replies with the same value, unless the canaries show that the annotator discriminates
    max_failed_canaries: float  # canaries of each kind


@dataclass(frozen=True)
class Usability:
    usable: bool
    reasons: tuple[str, ...]  # why not, one sentence each


def measure(
    judgments: Sequence[Judgment],
    *,
    lengths: Mapping[tuple[str, Position], int],
    people: Sequence[Judgment] = (),
    models: Mapping[str, str] | None = None,
    own_model: str | None = None,
    canaries: Sequence[CanaryResult] = (),
) -> Reliability:
    """Measure the reliability of one annotator in one evaluation.

    Args:
        judgments: all of one annotator and one evaluation.
        lengths: characters of each response, by contestant and position; responses without an entry are left out.
        people: judgments of people in the same evaluation.
        models: contestant → its model, for contestants whose model is known.
        own_model: the annotator's model.
        canaries: results of `canaries.evaluate`.

    Raises:
        LimaError: no judgments, or those of several annotators or tasks.
    """
    names = {(judgment.annotator, judgment.task) for judgment in judgments}
    if len(names) != 1:
        raise LimaError(f"judgments of {len(names)} annotators or tasks; reliability is measured for one")
    ((annotator, task),) = names
    replies = [reply for judgment in judgments for reply in judgment.replies]
    readable = [reply for reply in replies if reply.value is not None]
    values = Counter(reply.value for reply in readable)
    value, count = values.most_common(1)[0] if values else (None, 0)
    arrived = [reply for reply in replies if reply.value is not None or not _not_received(reply)]
    both = [judgment for judgment in judgments if _two_readable(judgment)]
    decided = [reply for reply in readable if reply.value in ("first", "second")]
    winners = [judgment for judgment in judgments if judgment.value in ("win", "lose")]
    unusable = [j for j in judgments if j.value is None and j.reason != "inconsistent"]
    return Reliability(
        annotator=annotator,
        task=task,
        judgments=len(judgments),
        failed=Rate(len(replies) - len(arrived), len(replies)),
        unparsed=Rate(len(arrived) - len(readable), len(arrived)),
        unusable=Rate(len(unusable), len(judgments)),
        inconsistent=Rate(sum(_results(judgment) == {"win", "lose"} for judgment in both), len(both)),
        flips=Rate(sum(len(_results(judgment)) > 1 for judgment in both), len(both)),
        first_position=Rate(sum(reply.value == "first" for reply in decided), len(decided)),
        most_common=Rate(count, len(readable)),
        most_common_value=value,
        longer=_longer(winners, lengths),
        length_correlation=_length_correlation(task, judgments, lengths),
        own=_own(winners, models or {}, own_model),
        people=agreement(judgments, people),
        canaries=tuple(canaries),
    )


def usable(measured: Reliability, bounds: Bounds) -> Usability:
    """Return whether an annotator's judgments may support a conclusion, and if not, why."""
    reasons = []
    if _exceeds(measured.unusable, bounds.max_unusable_share):
        missing = (
            f"{measured.unparsed.count} replies without a readable verdict, {measured.failed.count} missing replies"
        )
        reasons.append(
            f"{_counts(measured.unusable)} of its judgments have no value ({missing}); "
            f"{bounds.max_unusable_share:.0%} are allowed"
        )
    if _exceeds(measured.inconsistent, bounds.max_inconsistent_share):
        reasons.append(
            f"{_counts(measured.inconsistent)} of its pairs have another winner when the order of the answers is "
            f"reversed; {bounds.max_inconsistent_share:.0%} are allowed"
        )
    failing = [
        result
        for result in measured.canaries
        if result.failed_share is not None and result.failed_share > bounds.max_failed_canaries
    ]
    reasons += [
        f"it fails {result.failed} of {result.passed + result.failed} canaries of the kind {result.kind}"
        for result in failing
    ]
    discriminates = any(result.failed_share is not None for result in measured.canaries) and not failing
    if not discriminates and _exceeds(measured.most_common, bounds.max_constant_share):
        reasons.append(
            f"{_counts(measured.most_common)} of its replies are {measured.most_common_value}, so it does not "
            f"distinguish the answers; {bounds.max_constant_share:.0%} are allowed"
        )
    if measured.unusable.count == measured.judgments and not reasons:
        reasons.append("it has no readable verdict")
    return Usability(not reasons, tuple(reasons))


def agreement(judgments: Sequence[Judgment], people: Sequence[Judgment]) -> Agreement:
    """Mean agreement of an annotator with people on the items that both judged.

    A pair counts 1 for the same value, ½ if exactly one says tie, else 0 (tie-discounted accuracy, §4). An item judged
    by several people has the mean of their agreements. Judgments without a value are left out.
    """
    by_item: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for person in people:
        if person.value is not None:
            by_item[_key(person)].append(person.value)
            if person.rival is not None:
                by_item[_key(_mirrored(person))].append(_mirrored(person).value or "")
    agreements = {
        _key(judgment): fmean(_points(judgment.value, value) for value in by_item[_key(judgment)])
        for judgment in judgments
        if judgment.value is not None and by_item[_key(judgment)]
    }
    return Agreement(fmean(agreements.values()) if agreements else None, len(agreements), agreements)


def _points(value: str, other: str) -> float:
    if value == other:
        return 1.0
    return 0.5 if "tie" in (value, other) else 0.0


def _key(judgment: Judgment) -> tuple[object, ...]:
    return (judgment.prompt_id, judgment.sample, judgment.turn, judgment.contestant, judgment.rival)


def _mirrored(judgment: Judgment) -> Judgment:
    """The same judgment of a pair from the rival's side."""
    value = {"win": "lose", "lose": "win"}.get(judgment.value or "", judgment.value)
    return judgment.model_copy(update={"contestant": judgment.rival, "rival": judgment.contestant, "value": value})


def _position(judgment: Judgment) -> Position:
    return (judgment.prompt_id, judgment.sample, judgment.turn)


def _not_received(reply: JudgeReply) -> bool:
    return reply.reason not in ("unparsed", "truncated", "inconsistent", "undecided", None)


def _two_readable(judgment: Judgment) -> bool:
    return len(judgment.replies) == 2 and all(r.value is not None and r.first is not None for r in judgment.replies)


def _result(reply: JudgeReply, contestant: str) -> str:
    """The result of the contestant in one order: win, lose or tie."""
    if reply.value == "tie":
        return "tie"
    return "win" if (reply.first == contestant) == (reply.value == "first") else "lose"


def _results(judgment: Judgment) -> set[str]:
    """The results of the contestant in both orders; one element if they are equal."""
    return {_result(reply, judgment.contestant) for reply in judgment.replies}


def _longer(winners: Iterable[Judgment], lengths: Mapping[tuple[str, Position], int]) -> Rate:
    longer = total = 0
    for judgment in winners:
        ours = lengths.get((judgment.contestant, _position(judgment)))
        rivals = lengths.get((judgment.rival or "", _position(judgment)))
        if ours is not None and rivals is not None and ours != rivals:
            total += 1
            longer += (judgment.value == "win") == (ours > rivals)
    return Rate(longer, total)


def _length_correlation(
    task: Task, judgments: Sequence[Judgment], lengths: Mapping[tuple[str, Position], int]
) -> float | None:
    """Spearman's rank correlation; None for pairs, unordered tasks, and if either side is constant."""
    definition = TASKS[task]
    if definition.pairwise or not definition.ordered:
        return None
    observed = [
        (definition.values.index(j.value), lengths[j.contestant, _position(j)])
        for j in judgments
        if j.value is not None and (j.contestant, _position(j)) in lengths
    ]
    if any(len(set(side)) < 2 for side in zip(*observed, strict=True)) or not observed:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(*zip(*observed, strict=True)).statistic)


def _own(winners: Iterable[Judgment], models: Mapping[str, str], own_model: str | None) -> Rate:
    preferred = total = 0
    for judgment in winners:
        sides = [models.get(name or "") == own_model for name in (judgment.contestant, judgment.rival)]
        if own_model is not None and sides[0] != sides[1]:
            total += 1
            preferred += (judgment.value == "win") == sides[0]
    return Rate(preferred, total)


def _exceeds(rate: Rate, bound: float) -> bool:
    return rate.share is not None and rate.share > bound


def _counts(rate: Rate) -> str:
    return f"{rate.count} of {rate.of}"
