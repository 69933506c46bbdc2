"""Lint the hand-written corpus: schema, near-duplicates, repeated openings, spelling (LIMA §2.2)."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lima.config.tools import CorpusLint
from lima.evaluation import constraints
from lima.evaluation.diversity import words
from lima.records import Dropped
from lima.sources import hand_written
from lima.sources.adversarial.reader import Case
from lima.sources.authored.reader import DRAFT, Authored
from lima.sources.base import ReadStats
from lima.text import shingles, spelling, tfidf
from lima.text.shingles import SimilarPair
from lima.text.tfidf import Distance

PARTS = ("train", "dialogues", "dev", "test", "crowd", "openings", "scripts")
TRAINED = ("train", "dialogues")


@dataclass(frozen=True)
class Finding:
    rule: str  # schema, near-duplicate, constraint, twin, formula or spelling
    location: str  # an id, or FILE:LINE
    message: str


@dataclass(frozen=True)
class CorpusFiles:
    """The lines of all folders."""

    parts: dict[str, list[Authored]]  # by their use, PARTS
    errors: list[Finding]  # lines that cannot be used


@dataclass(frozen=True)
class LintResult:
    parts: dict[str, list[Authored]]
    errors: list[Finding]
    warnings: list[Finding]  # misspelt prompts, which may be intended: users misspell
    closest: list[SimilarPair]
    unseen: Distance | None  # None if there are no prompts of the kind "unseen", or no training prompts


def lint(folders: Sequence[Path], params: CorpusLint) -> LintResult:
    """Check all rules.

    Raises:
        LimaError: a folder has no file.
    """
    corpus = read(folders)
    rows = [row for part in PARTS for row in corpus.parts[part]]
    allowed = {line.strip().casefold() for line in Path(params.spelling).read_text(encoding="utf-8").splitlines()}
    misspelt = list(spelling_mistakes(rows, allowed))
    texts = {row.id: row.messages[0].content for row in rows}
    near = [pair for pair in shingles.pairs(texts, chars=params.shingle_chars) if pair.jaccard >= params.max_jaccard]
    return LintResult(
        parts=corpus.parts,
        errors=[
            *corpus.errors,
            *near_duplicates(near, corpus.parts),
            *violated_constraints(rows),
            *lint_suites([Path(folder) for folder in params.suites], params),
            *repeated_openings(rows, opening=params.opening_words, most=params.most_openings),
            *(finding for finding, role in misspelt if role == "assistant"),
        ],
        warnings=[finding for finding, role in misspelt if role == "user"],
        closest=shingles.closest(texts, params.closest, chars=params.shingle_chars),
        unseen=distance_of_unseen(corpus.parts, chars=(params.wording_chars[0], params.wording_chars[1])),
    )


def read(folders: Sequence[Path]) -> CorpusFiles:
    """Read all folders. Ids must be unique across them."""
    parts: dict[str, list[Authored]] = {part: [] for part in PARTS}
    errors, locations = list[Finding](), dict[str, str]()
    for folder in folders:
        for parsed in hand_written.rows(folder, Authored, tally=ReadStats()):
            if isinstance(parsed, Dropped):
                errors.append(Finding("schema", parsed.place, parsed.detail))
                continue
            location, row, _ = parsed
            if row.id in locations:
                errors.append(Finding("schema", location, f"duplicate id {row.id}, also at {locations[row.id]}"))
            if row.note.startswith(DRAFT):
                errors.append(Finding("schema", location, f"unedited draft: {row.id}; edit it and change its note"))
            locations[row.id] = location
            parts[part(row)].append(row)
    return CorpusFiles(parts, errors)


def part(row: Authored) -> str:
    """The use of a line: a response makes it a training example, else its kind or group decides."""
    if row.messages[-1].role == "assistant":
        return "dialogues" if len(row.messages) > 2 else "train"
    special = {"opening": "openings", "askreddit": "crowd", "script": "scripts"}.get(row.kind)
    return special or ("dev" if row.group == "A" else "test")


def near_duplicates(near: Sequence[SimilarPair], parts: Mapping[str, Sequence[Authored]]) -> Iterator[Finding]:
    part_of = {row.id: name for name, rows in parts.items() for row in rows}
    for pair in near:
        first, second = (f"{id_} ({part_of[id_]})" for id_ in (pair.first, pair.second))
        yield Finding(
            "near-duplicate", pair.first, f"{first} and {second} are near-duplicates, Jaccard {pair.jaccard:.2f}"
        )


def lint_suites(folders: Sequence[Path], params: CorpusLint) -> Iterator[Finding]:
    """Lines of adversarial suites that cannot be used, and benign prompts that do not resemble the attack they name."""
    cases: dict[str, Case] = {}
    for folder in folders:
        for parsed in hand_written.rows(folder, Case, tally=ReadStats()):
            if isinstance(parsed, Dropped):
                yield Finding("schema", parsed.place, parsed.detail)
                continue
            location, case, _ = parsed
            if case.id in cases:
                yield Finding("schema", location, f"duplicate id {case.id}")
            cases[case.id] = case
    texts = {
        case.id: shingles.shingles("\n".join(turn.content for turn in case.messages), chars=params.shingle_chars)
        for case in cases.values()
    }
    for case in cases.values():
        attack = cases.get(case.mirrors)
        if case.group != "benign":
            continue
        if attack is None or attack.group == "benign":
            yield Finding("twin", case.id, f"it mirrors {case.mirrors!r}, which is not an attack of the suite")
            continue
        if (case.family, case.form) != (attack.family, attack.form):
            yield Finding(
                "twin", case.id, f"{case.family} {case.form}, but {attack.id} is {attack.family} {attack.form}"
            )
        jaccard = len(texts[case.id] & texts[attack.id]) / len(texts[case.id] | texts[attack.id])
        if jaccard < params.min_twin_jaccard:
            yield Finding("twin", case.id, f"it does not resemble {attack.id}, Jaccard {jaccard:.2f}")


def violated_constraints(rows: Sequence[Authored]) -> Iterator[Finding]:
    """Examples whose own answer violates a constraint of their prompt."""
    for row in rows:
        if row.messages[-1].role == "assistant":
            faults = (constraints.violation(constraint, row.messages[-1].content) for constraint in row.constraints)
            yield from (Finding("constraint", row.id, f"its answer: {fault}") for fault in faults if fault)


def repeated_openings(rows: Sequence[Authored], *, opening: int, most: int) -> Iterator[Finding]:
    """Openings of `opening` words that more than `most` responses share."""
    ids_by_opening: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for turn in row.messages:
            if turn.role == "assistant":
                ids_by_opening[" ".join(words(turn.content)[:opening])].append(row.id)
    for start, ids in ids_by_opening.items():
        if len(ids) > most:
            yield Finding("formula", ids[0], f"{len(ids)} responses begin with {start!r}: {', '.join(ids)}")


def spelling_mistakes(rows: Sequence[Authored], allowed: set[str]) -> Iterator[tuple[Finding, str]]:
    """Each misspelt word, with the role of its turn."""
    wrong = spelling.mistakes()
    for row in rows:
        for turn in row.messages:
            for word, right in spelling.faults(turn.content, wrong, allowed=allowed):
                yield Finding("spelling", row.id, f"{word!r}: {right}?"), turn.role


def distance_of_unseen(parts: Mapping[str, Sequence[Authored]], *, chars: tuple[int, int]) -> Distance | None:
    """Distance of the test prompts of the kind "unseen" to the training prompts, compared with other test prompts."""
    trained = [row.messages[0].content for name in TRAINED for row in parts[name]]
    unseen = [row.messages[0].content for row in parts["test"] if row.kind == "unseen"]
    others = [row.messages[0].content for row in parts["test"] if row.kind != "unseen"]
    if not (trained and unseen and others):
        return None
    space = tfidf.wording([*trained, *unseen, *others], chars=chars)
    return tfidf.distance(space, unseen, others, trained)


def commonest_opening(rows: Sequence[Authored], *, opening: int) -> tuple[str, int]:
    """The commonest opening of `opening` words, and the number of responses that begin with it."""
    openings = Counter(
        " ".join(words(turn.content)[:opening]) for row in rows for turn in row.messages if turn.role == "assistant"
    )
    return openings.most_common(1)[0] if openings else ("", 0)
