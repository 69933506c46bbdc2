"""Comment chains below an answer as dialogues: which there are, how good they look, what is to be edited (LIMA §2, §6).

The asker becomes the user, the answerer the assistant, comments their later turns. What is made here is a draft: the
paper's authors edited each of theirs into the assistant's style by hand.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from lima.config.tools import Dialogues
from lima.curation import comments
from lima.records import Comment, Thread, Turn

MENTION = re.compile(r"(?<![\w`/.@])@([^\s@,:;!?()`]*[^\s@,:;!?()`.])[,:;.!]?[ \t]*")
LINK = re.compile(r"!?\[([^\]\n]+)\]\([^)\s]+(?:\s+\"[^\"]*\")?\)")
WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class QualityScore:
    """What speaks for a chain, each from 0 to 1, and what speaks against it."""

    exchanges: float  # how many
    questions: float  # share of the asker's later turns that ask something
    replies: float  # how long the answerer's later turns are
    vocabulary: float  # how many of its words the question or the answer has too
    votes: float  # the answer's
    undisturbed: float  # share of the remarks from the first to the last one that are the two's
    beside: float  # share of all turns that speak of the site, put the asker off, or need an address to be followed

    def total(self) -> float:
        """The mean of what speaks for it, less what speaks against it."""
        good = (self.exchanges, self.questions, self.replies, self.vocabulary, self.votes, self.undisturbed)
        return sum(good) / len(good) - self.beside


@dataclass(frozen=True)
class Draft:
    thread: Thread
    turns: tuple[Turn, ...]
    merit: QualityScore
    edits: tuple[str, ...]  # what a person must look at


def draft(thread: Thread, *, p: Dialogues, to_markdown: Callable[[str], str]) -> Draft | str:
    """A draft, or why there is none: no_text, no_chain, too_few_exchanges, little_merit."""
    first = "\n\n".join(part for part in (thread.title, to_markdown(thread.question).strip()) if part)
    answer = to_markdown(thread.answer).strip()
    if not first or not answer:
        return "no_text"
    later, spoken = chain(thread)
    if not later:
        return "no_chain"
    if 1 + len(later) // 2 < p.min_exchanges:
        return "too_few_exchanges"
    turns = (Turn(role="user", content=first), Turn(role="assistant", content=answer), *later)
    merit = _merit(thread, turns, spoken, p)
    return Draft(thread, turns, merit, tuple(comments.edits(turns))) if merit.total() >= p.min_merit else "little_merit"


def chain(thread: Thread) -> tuple[tuple[Turn, ...], float]:
    """The turns after the answer, and the share of the remarks among them that are the two's.

    Remarks of one speaker in a row are one turn. A remark to a third person belongs to another talk; so does what the
    answerer says before the asker does, and what the asker says last, which nobody answers.
    """
    said = [
        (place, remark.speaker, text)
        for place, remark in enumerate(thread.remarks)
        if (text := _addressed(thread, remark))
    ]
    while said and said[0][1] != "asker":
        said.pop(0)
    while said and said[-1][1] != "answerer":
        said.pop()
    turns: list[Turn] = []
    for speaker, of in groupby(said, key=lambda one: one[1]):
        content = "\n\n".join(text for *_, text in of)
        turns.append(Turn(role="user" if speaker == "asker" else "assistant", content=content))
    return tuple(turns), len(said) / (1 + said[-1][0] - said[0][0]) if said else 0.0


def _addressed(thread: Thread, remark: Comment) -> str:
    """What asker or answerer say to each other, without "@name" and links' targets; "" where it is to a third person.

    One that opens with a name nobody there has is to somebody who has left.
    """
    if remark.speaker == "other":
        return ""
    partner = thread.answerer if remark.speaker == "asker" else thread.asker
    others = sorted({other.name for other in thread.remarks if other.speaker == "other"})
    text = remark.text
    for found in reversed(list(MENTION.finditer(text))):
        meant, opens = _meant(found[1], [partner, *others]), found.start() == 0
        if meant == partner:
            text = text[: found.start()] + _rest_of(partner, text[found.end() :])
        elif meant is not None or opens:
            return ""
    return LINK.sub(r"\1", text).strip()


def _rest_of(name: str, text: str) -> str:
    """ "Lovelace, yes" → "yes", where "@Ada" stood before: a mention ends at the blank, a name need not."""
    for word in name.split()[1:]:
        if not text.startswith(word):
            break
        text = text[len(word) :].lstrip(" ,:;")
    return text


def _meant(mention: str, names: list[str]) -> str | None:
    """Whose name, written together, begins like the mention; the first of several."""
    wanted = re.sub(r"['’]s?$", "", mention.casefold())
    found = [name for name in names if (whole := "".join(name.split()).casefold()) and whole.startswith(wanted)]
    return found[0] if found and len(wanted) > 1 else None


def _merit(thread: Thread, turns: tuple[Turn, ...], undisturbed: float, p: Dialogues) -> QualityScore:
    later = turns[2:]
    asked, replied = ([turn.content for turn in later if turn.role == role] for role in ("user", "assistant"))
    words = {word.casefold() for turn in later for word in WORD.findall(turn.content)}
    known = {word.casefold() for turn in turns[:2] for word in WORD.findall(turn.content)}
    return QualityScore(
        exchanges=min(1.0, (1 + len(asked)) / p.full_exchanges),
        questions=sum("?" in text for text in asked) / len(asked),
        replies=min(1.0, sum(map(len, replied)) / len(replied) / p.full_reply_chars),
        vocabulary=len(words & known) / max(len(words), 1),
        votes=min(1.0, max(thread.score, 0) / p.full_score),
        undisturbed=undisturbed,
        beside=sum(bool(comments.off_topic(number, turn)) for number, turn in enumerate(turns, start=1)) / len(turns),
    )
