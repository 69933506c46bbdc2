"""Hand-written files held to the laws of such a set: schema, lengths, doubles, formulas, spelling (LIMA §2.2)."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lima.config.tools import CorpusLint
from lima.evaluation.diversity import words
from lima.records import Dropped
from lima.sources import hand_written
from lima.sources.authored.reader import DRAFT, Authored
from lima.sources.base import ReadStats
from lima.text import shingles, spelling, tfidf
from lima.text.shingles import SimilarPair
from lima.text.tfidf import Distance

PARTS = ("train", "dialogues", "dev", "test", "crowd", "openings")
TRAINED = ("train", "dialogues")


@dataclass(frozen=True)
class Finding:
    law: str
    place: str  # an id, or FILE:LINE
    says: str


@dataclass(frozen=True)
class LintedFile:
    """The lines of all folders by the part that they play, and what could not be read."""

    parts: dict[str, list[Authored]]
    bad: list[Finding]


@dataclass(frozen=True)
class LintResult:
    parts: dict[str, list[Authored]]
    faults: list[Finding]  # what has to be mended
    doubtful: list[Finding]  # prompts that are misspelt, which may be meant: people write so
    closest: list[SimilarPair]
    unseen: Distance | None  # None where no prompt is of the kind unseen, or none is trained on


def lint(folders: Sequence[Path], p: CorpusLint) -> LintResult:
    found = read(folders)
    rows = [row for part in PARTS for row in found.parts[part]]
    allowed = {line.strip().casefold() for line in Path(p.spelling).read_text(encoding="utf-8").splitlines()}
    misspelt = list(spelt(rows, allowed))
    texts = {row.id: row.messages[0].content for row in rows}
    near = [pair for pair in shingles.pairs(texts, chars=p.shingle_chars) if pair.jaccard >= p.max_jaccard]
    return LintResult(
        parts=found.parts,
        faults=[
            *found.bad,
            *doubled(near, found.parts),
            *formulas(rows, opening=p.opening_words, most=p.most_openings),
            *(finding for finding, role in misspelt if role == "assistant"),
        ],
        doubtful=[finding for finding, role in misspelt if role == "user"],
        closest=shingles.closest(texts, p.closest, chars=p.shingle_chars),
        unseen=remoteness(found.parts, chars=(p.wording_chars[0], p.wording_chars[1])),
    )


def read(folders: Sequence[Path]) -> LintedFile:
    """Ids are unique over all folders."""
    parts: dict[str, list[Authored]] = {part: [] for part in PARTS}
    bad, places = list[Finding](), dict[str, str]()
    for folder in folders:
        for found in hand_written.rows(folder, Authored, tally=ReadStats()):
            if isinstance(found, Dropped):
                bad.append(Finding("schema", found.place, found.detail))
                continue
            place, row, _ = found
            if row.id in places:
                bad.append(Finding("schema", place, f"id: {row.id} stands already at {places[row.id]}"))
            if row.note.startswith(DRAFT):
                bad.append(Finding("schema", place, f"{row.id} is a draft that nobody has edited"))
            places[row.id] = place
            parts[part(row)].append(row)
    return LintedFile(parts, bad)


def part(row: Authored) -> str:
    """What a line is for: an answer makes it training, else the kind or the group tells."""
    if row.messages[-1].role == "assistant":
        return "dialogues" if len(row.messages) > 2 else "train"
    special = {"opening": "openings", "askreddit": "crowd"}.get(row.kind)
    return special or ("dev" if row.group == "A" else "test")


def doubled(near: Sequence[SimilarPair], parts: Mapping[str, Sequence[Authored]]) -> Iterator[Finding]:
    where = {row.id: name for name, rows in parts.items() for row in rows}
    for pair in near:
        one, other = (f"{id_} ({where[id_]})" for id_ in (pair.first, pair.second))
        yield Finding("near-duplicate", pair.first, f"{one} and {other} are alike, Jaccard {pair.jaccard:.2f}")


def formulas(rows: Sequence[Authored], *, opening: int, most: int) -> Iterator[Finding]:
    """Openings of so many words with which more than `most` answers begin."""
    begun: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for turn in row.messages:
            if turn.role == "assistant":
                begun[" ".join(words(turn.content)[:opening])].append(row.id)
    for start, ids in begun.items():
        if len(ids) > most:
            yield Finding("formula", ids[0], f"{len(ids)} answers begin with {start!r}: {', '.join(ids)}")


def spelt(rows: Sequence[Authored], allowed: set[str]) -> Iterator[tuple[Finding, str]]:
    """Each misspelt word, and who says it."""
    wrong = spelling.mistakes()
    for row in rows:
        for turn in row.messages:
            for word, right in spelling.faults(turn.content, wrong, allowed=allowed):
                yield Finding("spelling", row.id, f"{word!r}: {right}?"), turn.role


def remoteness(parts: Mapping[str, Sequence[Authored]], *, chars: tuple[int, int]) -> Distance | None:
    """How far the test prompts of the kind unseen are from those that are trained on, beside the other test prompts."""
    trained = [row.messages[0].content for name in TRAINED for row in parts[name]]
    unseen = [row.messages[0].content for row in parts["test"] if row.kind == "unseen"]
    others = [row.messages[0].content for row in parts["test"] if row.kind != "unseen"]
    if not (trained and unseen and others):
        return None
    space = tfidf.wording([*trained, *unseen, *others], chars=chars)
    return tfidf.distance(space, unseen, others, trained)


def repeated(rows: Sequence[Authored], *, opening: int) -> tuple[str, int]:
    """The opening with which most answers begin, and how many do."""
    begun = Counter(
        " ".join(words(turn.content)[:opening]) for row in rows for turn in row.messages if turn.role == "assistant"
    )
    return begun.most_common(1)[0] if begun else ("", 0)
