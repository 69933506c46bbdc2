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
    """Five haiku, numbered 1. to 5., of three lines each; seven syllables have at most seven words."""
    poems: list[list[str]] = []
    for line in lines(text):
        numbered = re.fullmatch(r"(\d{1,2})\.\s*(.*)", line)
        if numbered:
            if int(numbered[1]) != len(poems) + 1:
                return f"number {numbered[1]}. instead of {len(poems) + 1}."
            poems.append([numbered[2]] if numbered[2] else [])
        elif not poems:
            return f"text before 1.: {line[:40]!r}"
        else:
            poems[-1].append(line)
    for number, poem in enumerate(poems, start=1):
        if len(poem) != 3:
            return f"{number}. has {len(poem)} lines, not 3"
        if any(len(line.split()) > 7 for line in poem):
            return f"{number}. has a line of more than seven words"
    return wrong_count(poems, 5, "haiku")


def acrostic(text: str) -> str | None:
    """Seven lines whose first letters spell LANTERN."""
    initials = "".join(re.sub(r"[\W_]", "", line)[:1] for line in lines(text)).upper()
    return None if initials == "LANTERN" else f"the lines begin with {initials[:20]!r}"


def speakers(text: str) -> str | None:
    """Ten lines; the speakers LIGHTHOUSE and FOG alternate."""
    for number, line in enumerate(lines(text)):
        speaker = ("LIGHTHOUSE:", "FOG:")[number % 2]
        if not line.startswith(speaker) or not line.removeprefix(speaker).strip():
            return f"line {number + 1} does not begin with {speaker} followed by text"
    return wrong_count(lines(text), 10, "lines")


def timeline(text: str) -> str | None:
    """Eight lines of a year, a dash and one sentence, in ascending order of years."""
    years = []
    for line in lines(text):
        entry = re.fullmatch(r"(\d{3,4})\s*[-–—]\s*(\S.*[.!?])", line)
        if not entry:
            return f"{line[:40]!r} is not a year, a dash and a sentence"
        if SECOND_SENTENCE.search(entry[2]):
            return f"{entry[1]} has more than one sentence"
        years.append(int(entry[1]))
    if any(later <= earlier for earlier, later in pairwise(years)):
        return f"the years do not ascend: {years}"
    return wrong_count(years, 8, "lines")


def limerick(text: str) -> str | None:
    """Five lines; the third and the fourth have fewer characters than each of the others."""
    sizes = [len(line) for line in lines(text)]
    if len(sizes) == 5 and max(sizes[2:4]) >= min(*sizes[:2], sizes[4]):
        return f"the lines have {sizes} characters"
    return wrong_count(sizes, 5, "lines")


def fifty_words(text: str) -> str | None:
    """Fifty words, separated by spaces or dashes; a word contains a letter or digit and may contain hyphens."""
    return wrong_count([word for word in re.split(r"[\s–—]+", text) if re.search(r"\w", word)], 50, "words")


def lines(text: str) -> list[str]:
    """Non-empty lines, stripped and without emphasis."""
    return [line.replace("**", "").strip() for line in text.splitlines() if line.strip()]


def wrong_count(items: Sequence[object], expected: int, name: str) -> str | None:
    return None if len(items) == expected else f"{len(items)} {name}, not {expected}"


def table(text: str) -> str | None:
    """Only a Markdown table with the columns Myth and Fact and six rows."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines(text)]
    if any("|" not in line for line in lines(text)):
        return "a line outside the table"
    if rows[:1] != [["Myth", "Fact"]]:
        return f"the columns are {rows[:1]}"
    if len(rows) < 2 or not all(re.fullmatch(r":?-+:?", cell) for cell in rows[1]) or len(rows[1]) != 2:
        return "no delimiter row below the header"
    if any(len(row) != 2 or not all(row) for row in rows):
        return "a row does not have two non-empty cells"
    return wrong_count(rows[2:], 6, "rows")


def checklist(text: str) -> str | None:
    """Nine checkboxes, four of them ticked."""
    boxes = [re.fullmatch(r"- \[([ xX])\] \S.*", line) for line in lines(text)]
    if not all(boxes):
        return "a line is not '- [x]' or '- [ ]' followed by an item"
    ticked = sum(box[1] != " " for box in boxes if box)
    return wrong_count(boxes, 9, "boxes") or (None if ticked == 4 else f"{ticked} boxes are ticked, not 4")


def glossary(text: str) -> str | None:
    """Ten sorted lines `**word**: definition`; a definition has at most fifteen words."""
    words = []
    for line in filter(str.strip, text.splitlines()):
        entry = re.fullmatch(r"\*\*([^*]+)\*\*: (\S.*)", line.strip())
        if not entry:
            return f"{line[:40]!r} is not **word**: definition"
        if len(entry[2].split()) > 15:
            return f"the definition of {entry[1]} has {len(entry[2].split())} words"
        words.append(entry[1].casefold())
    if words != sorted(set(words)):
        return "the words are not sorted, or one occurs twice"
    return wrong_count(words, 10, "words")


def outline(text: str) -> str | None:
    """Lines numbered 1, 1.1, 1.2, 1.3, 2, …, 3.3."""
    numbers = [re.match(r"(?:#+ )?(\d(?:\.\d)?)\.? +\S", line) for line in lines(text)]
    shown = [number[1] if number else "-" for number in numbers]
    expected = [str(chapter) + point for chapter in (1, 2, 3) for point in ("", ".1", ".2", ".3")]
    return None if shown == expected else f"the lines are {' '.join(shown)}"


def log(text: str) -> str | None:
    """A CSV file of six nights in order, with or without a code block."""
    fenced = FENCE.fullmatch(text)
    try:
        rows = list(csv.reader((fenced[2] if fenced else text).splitlines()))
    except csv.Error as error:
        return f"not a CSV file: {error}"
    if rows[:1] != [["night", "object", "seeing", "observer"]]:
        return f"the header is {rows[:1]}"
    nights = []
    for row in rows[1:]:
        if len(row) != 4 or not all(cell.strip() for cell in row):
            return f"{row} does not have four non-empty cells"
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", row[0]) or not is_date(row[0]):
            return f"{row[0]!r} is not a date"
        if row[2].strip() not in ("1", "2", "3", "4", "5"):
            return f"{row[2]!r} is not a seeing from 1 to 5"
        nights.append(row[0])
    return wrong_count(nights, 6, "rows") or (None if nights == sorted(nights) else "the nights are not in order")


def course(text: str) -> str | None:
    """One YAML code block with five keys in order; days and price_eur are numbers, bring is a list of four items."""
    from ruamel.yaml import YAML  # imported here: few answers need it
    from ruamel.yaml.error import YAMLError

    fenced = FENCE.fullmatch(text)
    if not fenced or fenced[1].lower() not in ("yaml", "yml", ""):
        return "the answer is not one YAML code block"
    try:
        values = YAML(typ="safe").load(fenced[2])
    except (YAMLError, ValueError, RecursionError) as error:
        return f"not valid YAML: {str(error)[:80]}"
    if not isinstance(values, dict) or list(values) != ["title", "level", "days", "price_eur", "bring"]:
        return f"the keys are {list(values) if isinstance(values, dict) else values!r}"
    for key in ("days", "price_eur"):
        if isinstance(values[key], bool) or not isinstance(values[key], int | float):
            return f"{key} is not a number: {values[key]!r}"
    bring = values["bring"]
    return wrong_count(bring, 4, "items to bring") if isinstance(bring, list) else f"bring is not a list: {bring!r}"


def is_date(day: str) -> bool:
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
    """Return the name of the constraint in the prompt's tags, None if it has none."""
    return next((tag.removeprefix(TAG) for tag in prompt.tags if tag.startswith(TAG)), None)


def violation(name: str, answer: str) -> str | None:
    """Return the first violation of a constraint, at most SHOWN characters and "…"; None if it is satisfied.

    Raises:
        ValueError: unknown constraint.
    """
    if name not in CONSTRAINTS:
        known = ", ".join(CONSTRAINTS)
        raise ValueError(f"unknown constraint: {name!r}; lima/evaluation/constraints.py has {known}")
    fault = CONSTRAINTS[name](answer.strip())
    return fault if fault is None or len(fault) <= SHOWN else f"{fault[:SHOWN]}…"
