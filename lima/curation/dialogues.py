"""Draft dialogues from comment chains below an answer, with a quality score and required edits (LIMA §2, §6).

The asker becomes the user, the answerer the assistant, their comments the later turns. The result is a draft: the
paper's authors edited each of their dialogues by hand into the assistant's style.
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
    """Features of a chain, each in [0, 1]; all but `off_topic` increase the score."""

    exchanges: float  # number of exchanges, relative to full_exchanges
    questions: float  # share of the asker's later turns that contain a question
    replies: float  # mean length of the answerer's later turns, relative to full_reply_chars
    vocabulary: float  # share of the later turns' words that occur in the question or the answer
    votes: float  # votes of the answer, relative to full_score
    uninterrupted: float  # share of asker's and answerer's comments among all from the chain's first to its last
    off_topic: float  # share of all turns that mention the site, give no answer, or contain a URL

    def total(self) -> float:
        """Mean of the positive features minus `off_topic`, in [-1, 1]."""
        features = (self.exchanges, self.questions, self.replies, self.vocabulary, self.votes, self.uninterrupted)
        return sum(features) / len(features) - self.off_topic


@dataclass(frozen=True)
class Draft:
    thread: Thread
    turns: tuple[Turn, ...]
    quality: QualityScore
    edits: tuple[str, ...]  # required of a person


def draft(thread: Thread, *, settings: Dialogues, to_markdown: Callable[[str], str]) -> Draft | str:
    """A draft, or the reason for none: no_text, no_chain, too_few_exchanges, little_merit."""
    prompt = "\n\n".join(part for part in (thread.title, to_markdown(thread.question).strip()) if part)
    answer = to_markdown(thread.answer).strip()
    if not prompt or not answer:
        return "no_text"
    later, uninterrupted = chain(thread)
    if not later:
        return "no_chain"
    if 1 + len(later) // 2 < settings.min_exchanges:
        return "too_few_exchanges"
    turns = (Turn(role="user", content=prompt), Turn(role="assistant", content=answer), *later)
    quality = _quality(thread, turns, uninterrupted, settings)
    if quality.total() < settings.min_merit:
        return "little_merit"
    return Draft(thread, turns, quality, tuple(comments.required_edits(turns)))


def chain(thread: Thread) -> tuple[tuple[Turn, ...], float]:
    """The turns after the answer, and the share of asker's and answerer's comments among all in their range.

    Consecutive comments of one speaker form one turn. Comments addressed to a third person are excluded, and so are the
    answerer's before the asker's first and the asker's after the answerer's last.
    """
    spoken = [
        (position, comment.speaker, text)
        for position, comment in enumerate(thread.remarks)
        if (text := _addressed(thread, comment))
    ]
    while spoken and spoken[0][1] != "asker":
        spoken.pop(0)
    while spoken and spoken[-1][1] != "answerer":
        spoken.pop()
    turns: list[Turn] = []
    for speaker, group in groupby(spoken, key=lambda item: item[1]):
        content = "\n\n".join(text for *_, text in group)
        turns.append(Turn(role="user" if speaker == "asker" else "assistant", content=content))
    return tuple(turns), len(spoken) / (1 + spoken[-1][0] - spoken[0][0]) if spoken else 0.0


def _addressed(thread: Thread, comment: Comment) -> str:
    """Text of a comment from asker to answerer or back, without "@name" and link targets; "" if not between the two.

    A comment that opens with an unknown name is addressed to a person whose comments are deleted.
    """
    if comment.speaker == "other":
        return ""
    partner = thread.answerer if comment.speaker == "asker" else thread.asker
    others = sorted({other.name for other in thread.remarks if other.speaker == "other"})
    text = comment.text
    for mention in reversed(list(MENTION.finditer(text))):
        name, at_start = _mentioned(mention[1], [partner, *others]), mention.start() == 0
        if name == partner:
            text = text[: mention.start()] + _without_rest_of_name(partner, text[mention.end() :])
        elif name is not None or at_start:
            return ""
    return LINK.sub(r"\1", text).strip()


def _without_rest_of_name(name: str, text: str) -> str:
    """ "Lovelace, yes" → "yes" after "@Ada": a mention ends at the first blank, a name may contain blanks."""
    for word in name.split()[1:]:
        if not text.startswith(word):
            break
        text = text[len(word) :].lstrip(" ,:;")
    return text


def _mentioned(mention: str, names: list[str]) -> str | None:
    """The first name that, without blanks, begins with the mention."""
    prefix = re.sub(r"['’]s?$", "", mention.casefold())
    matches = [name for name in names if (joined := "".join(name.split()).casefold()) and joined.startswith(prefix)]
    return matches[0] if matches and len(prefix) > 1 else None


def _quality(thread: Thread, turns: tuple[Turn, ...], uninterrupted: float, settings: Dialogues) -> QualityScore:
    later = turns[2:]
    questions, replies = ([turn.content for turn in later if turn.role == role] for role in ("user", "assistant"))
    words = {word.casefold() for turn in later for word in WORD.findall(turn.content)}
    known = {word.casefold() for turn in turns[:2] for word in WORD.findall(turn.content)}
    off_topic = sum(bool(comments.off_topic(number, turn)) for number, turn in enumerate(turns, start=1))
    return QualityScore(
        exchanges=min(1.0, (1 + len(questions)) / settings.full_exchanges),
        questions=sum("?" in text for text in questions) / len(questions),
        replies=min(1.0, sum(map(len, replies)) / len(replies) / settings.full_reply_chars),
        vocabulary=len(words & known) / max(len(words), 1),
        votes=min(1.0, max(thread.score, 0) / settings.full_score),
        uninterrupted=uninterrupted,
        off_topic=off_topic / len(turns),
    )
