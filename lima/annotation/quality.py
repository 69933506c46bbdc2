"""Quality of people's judgments: speed, uniform choices, attention checks and self-agreement. Flags drop nobody."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from lima.config.tools import AnnotationSettings
from lima.records import Annotation

Unit = tuple[str, int, int, str, str]  # prompt, sample, turn, contestant, digest of the texts


@dataclass(frozen=True)
class PersonSummary:
    """One person's judgments of one evaluation."""

    person: str
    simulated: bool
    judged: int  # items with a value; without attention checks and repeats
    skipped: int
    seconds: float | None  # median per item; None without a judgment
    uniform: float | None  # share of the most frequent choice, as shown
    attention: tuple[int, int]  # passed, all
    repeats: tuple[int, int]  # with the same value as before, all
    flags: tuple[str, ...]


def unit(record: Annotation) -> Unit:
    """Identifies what was judged, over people and repetitions."""
    return record.prompt_id, record.sample, record.turn, record.contestant, record.texts


def shown_choice(record: Annotation) -> str | None:
    """The choice as the person saw it: for a pair the side, else the value."""
    if record.task != "pairwise" or record.value in (None, "tie"):
        return record.value
    return "first" if (record.value == "win") == (record.first == record.contestant) else "second"


def summarize(records: Sequence[Annotation], settings: AnnotationSettings) -> list[PersonSummary]:
    """Summaries of all people, in the order of their first judgment."""
    by_person: defaultdict[str, list[Annotation]] = defaultdict(list)
    for record in records:
        by_person[record.person].append(record)
    return [_summary(person, own, settings) for person, own in by_person.items()]


def _summary(person: str, records: list[Annotation], settings: AnnotationSettings) -> PersonSummary:
    main = [record for record in records if record.kind == "main"]
    valued = [record for record in main if record.value is not None]
    checks = [record for record in records if record.kind == "attention" and record.value is not None]
    passed = sum(record.reason == f"expected {shown_choice(record)}" for record in checks)
    values = {unit(record): record.value for record in valued}
    repeated = [r for r in records if r.kind == "repeat" and r.value is not None and unit(r) in values]
    same = sum(values[unit(record)] == record.value for record in repeated)
    seconds = median(record.seconds for record in valued) if valued else None
    choices = Counter(shown_choice(record) for record in valued)
    uniform = choices.most_common(1)[0][1] / len(valued) if valued else None
    flags = []
    if len(valued) >= settings.min_flagged:
        if seconds is not None and seconds < settings.min_seconds:
            flags.append("fast")
        if uniform is not None and uniform > settings.max_same_share:
            flags.append("uniform")
    if passed < len(checks):
        flags.append("inattentive")
    return PersonSummary(
        person,
        any(record.simulated for record in records),
        len(valued),
        len(main) - len(valued),
        seconds,
        uniform,
        (passed, len(checks)),
        (same, len(repeated)),
        tuple(flags),
    )
