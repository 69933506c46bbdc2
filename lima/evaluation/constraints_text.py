"""Rules for answers that are written in lines or counted in words: verse, dialogue, chronicle (LIMA appendix E; ours).

Each says what first breaks the form, or None. Emphasis (`**`) and empty lines count for nothing.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

SECOND_SENTENCE = re.compile(r"(?<!\b[A-Z])(?<!\b(?:Mr|Dr|St))(?<!\bMrs)[.!?][\"')”’]*\s+[A-Z]")


def haiku(text: str) -> str | None:
    """Five, numbered 1. to 5., of three lines each; a line of at most seven syllables has at most seven words."""
    poems: list[list[str]] = []
    for line in lines(text):
        numbered = re.fullmatch(r"(\d{1,2})\.\s*(.*)", line)
        if numbered:
            if int(numbered[1]) != len(poems) + 1:
                return f"{numbered[1]}. stands where {len(poems) + 1}. is due"
            poems.append([numbered[2]] if numbered[2] else [])
        elif not poems:
            return f"{line[:40]!r} stands before 1."
        else:
            poems[-1].append(line)
    for number, poem in enumerate(poems, start=1):
        if len(poem) != 3:
            return f"{number}. has {len(poem)} lines, not 3"
        if any(len(line.split()) > 7 for line in poem):
            return f"{number}. has a line of more than seven words"
    return counted(poems, 5, "haiku")


def acrostic(text: str) -> str | None:
    """LANTERN, by the first letters of seven lines."""
    initials = "".join(re.sub(r"[\W_]", "", line)[:1] for line in lines(text)).upper()
    return None if initials == "LANTERN" else f"the lines begin with {initials[:20]!r}"


def speakers(text: str) -> str | None:
    """Ten lines, LIGHTHOUSE and FOG in turns."""
    for number, line in enumerate(lines(text)):
        due = ("LIGHTHOUSE:", "FOG:")[number % 2]
        if not line.startswith(due) or not line.removeprefix(due).strip():
            return f"line {number + 1} does not begin with {due} and go on"
    return counted(lines(text), 10, "lines")


def timeline(text: str) -> str | None:
    """Eight lines of a year, a dash and one sentence; the years ascend."""
    years = []
    for line in lines(text):
        told = re.fullmatch(r"(\d{3,4})\s*[-–—]\s*(\S.*[.!?])", line)
        if not told:
            return f"{line[:40]!r} is no year, dash and sentence"
        if SECOND_SENTENCE.search(told[2]):
            return f"{told[1]} has more than one sentence"
        years.append(int(told[1]))
    if any(later <= earlier for earlier, later in pairwise(years)):
        return f"the years do not ascend: {years}"
    return counted(years, 8, "lines")


def limerick(text: str) -> str | None:
    """Five lines, the third and fourth shorter, in characters, than each of the others."""
    sizes = [len(line) for line in lines(text)]
    if len(sizes) == 5 and max(sizes[2:4]) >= min(*sizes[:2], sizes[4]):
        return f"the lines have {sizes} characters"
    return counted(sizes, 5, "lines")


def fifty_words(text: str) -> str | None:
    """A word is what stands between spaces or dashes and has a letter or digit; a hyphen parts none."""
    return counted([word for word in re.split(r"[\s–—]+", text) if re.search(r"\w", word)], 50, "words")


def lines(text: str) -> list[str]:
    """Those that say something, without emphasis."""
    return [line.replace("**", "").strip() for line in text.splitlines() if line.strip()]


def counted(found: Sequence[object], due: int, what: str) -> str | None:
    return None if len(found) == due else f"{len(found)} {what}, not {due}"
