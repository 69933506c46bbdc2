"""Verifiable constraints on the form of a response, as in IFEval (LIMA appendix E; not specified in the paper).

A prompt names its constraint in the tag `keeps:NAME`. Each function returns the first violation in words, or None.
Constraints check the form only, not the content. Emphasis (`**`) and empty lines are ignored.
"""

import csv
import re
from collections.abc import Callable, Sequence
from datetime import date
from itertools import pairwise

from lima.records import Prompt

TAG = "keeps:"
SHOWN = 100  # characters of a violation, which may quote the response
SECOND_SENTENCE = re.compile(r"(?<!\b[A-Z])(?<!\b(?:Mr|Dr|St))(?<!\bMrs)[.!?][\"')”’]*\s+[A-Z]")
FENCE = re.compile(r"\A```(\w*)[ \t]*\n(.*?)\n?```\Z", re.DOTALL)


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


def table(text: str) -> str | None:
    """A Markdown table alone, of the columns Myth and Fact and six rows."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines(text)]
    if any("|" not in line for line in lines(text)):
        return "a line stands outside of the table"
    if rows[:1] != [["Myth", "Fact"]]:
        return f"the columns are {rows[:1]}"
    if len(rows) < 2 or not all(re.fullmatch(r":?-+:?", cell) for cell in rows[1]) or len(rows[1]) != 2:
        return "no rule stands below the header"
    if any(len(row) != 2 or not all(row) for row in rows):
        return "a row has not two filled cells"
    return counted(rows[2:], 6, "rows")


def checklist(text: str) -> str | None:
    """Nine boxes, four of them ticked."""
    boxes = [re.fullmatch(r"- \[([ xX])\] \S.*", line) for line in lines(text)]
    if not all(boxes):
        return "a line is no '- [x]' or '- [ ]' with a thing behind it"
    ticked = sum(box[1] != " " for box in boxes if box)
    return counted(boxes, 9, "boxes") or (None if ticked == 4 else f"{ticked} boxes are ticked, not 4")


def glossary(text: str) -> str | None:
    """Ten sorted lines `**word**: definition`, of at most fifteen words each."""
    words = []
    for line in filter(str.strip, text.splitlines()):
        entry = re.fullmatch(r"\*\*([^*]+)\*\*: (\S.*)", line.strip())
        if not entry:
            return f"{line[:40]!r} is no **word**: definition"
        if len(entry[2].split()) > 15:
            return f"{entry[1]} takes {len(entry[2].split())} words"
        words.append(entry[1].casefold())
    if words != sorted(set(words)):
        return "the words are not sorted, or one comes twice"
    return counted(words, 10, "words")


def outline(text: str) -> str | None:
    """1, 1.1, 1.2, 1.3, 2, …, 3.3, a line each."""
    numbers = [re.match(r"(?:#+ )?(\d(?:\.\d)?)\.? +\S", line) for line in lines(text)]
    found = [number[1] if number else "-" for number in numbers]
    due = [str(chapter) + point for chapter in (1, 2, 3) for point in ("", ".1", ".2", ".3")]
    return None if found == due else f"the lines are {' '.join(found)}"


def log(text: str) -> str | None:
    """A CSV file of six nights in order, in a code block or bare."""
    fenced = FENCE.fullmatch(text)
    try:
        rows = list(csv.reader((fenced[2] if fenced else text).splitlines()))
    except csv.Error as error:
        return f"the file cannot be read: {error}"
    if rows[:1] != [["night", "object", "seeing", "observer"]]:
        return f"the header is {rows[:1]}"
    nights = []
    for row in rows[1:]:
        if len(row) != 4 or not all(cell.strip() for cell in row):
            return f"{row} has not four filled cells"
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", row[0]) or not real(row[0]):
            return f"{row[0]!r} is no night"
        if row[2].strip() not in ("1", "2", "3", "4", "5"):
            return f"{row[2]!r} is no seeing from 1 to 5"
        nights.append(row[0])
    return counted(nights, 6, "rows") or (None if nights == sorted(nights) else "the nights are not in order")


def course(text: str) -> str | None:
    """One YAML code block with five keys in their order; days and price_eur are numbers, bring is four things."""
    from ruamel.yaml import YAML  # imported here: most answers are of other forms
    from ruamel.yaml.error import YAMLError

    fenced = FENCE.fullmatch(text)
    if not fenced or fenced[1].lower() not in ("yaml", "yml", ""):
        return "the answer is not one YAML code block"
    try:
        found = YAML(typ="safe").load(fenced[2])
    except (YAMLError, ValueError, RecursionError) as error:
        return f"the YAML cannot be read: {str(error)[:80]}"
    if not isinstance(found, dict) or list(found) != ["title", "level", "days", "price_eur", "bring"]:
        return f"the keys are {list(found) if isinstance(found, dict) else found!r}"
    for key in ("days", "price_eur"):
        if isinstance(found[key], bool) or not isinstance(found[key], int | float):
            return f"{key} is no number: {found[key]!r}"
    bring = found["bring"]
    return counted(bring, 4, "things to bring") if isinstance(bring, list) else f"bring is no list: {bring!r}"


def real(day: str) -> bool:
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    return True


CONSTRAINTS: dict[str, Callable[[str], str | None]] = {
    "haiku": haiku,
    "acrostic": acrostic,
    "limerick": limerick,
    "speakers": speakers,
    "timeline": timeline,
    "fifty-words": fifty_words,
    "table": table,
    "checklist": checklist,
    "glossary": glossary,
    "outline": outline,
    "csv": log,
    "yaml": course,
}


def constraint_of(prompt: Prompt) -> str | None:
    """The name of the form that the prompt prescribes."""
    return next((tag.removeprefix(TAG) for tag in prompt.tags if tag.startswith(TAG)), None)


def violation(form: str, answer: str) -> str | None:
    """What first breaks the form, in words; None where it is kept. Raises ValueError for a form without a rule."""
    if form not in CONSTRAINTS:
        raise ValueError(
            f"no rule reads the form {form!r}; there are {', '.join(CONSTRAINTS)} in lima/evaluation/constraints.py"
        )
    found = CONSTRAINTS[form](answer.strip())
    return found if found is None or len(found) <= SHOWN else f"{found[:SHOWN]}…"
