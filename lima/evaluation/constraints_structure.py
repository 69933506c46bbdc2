"""Rules for answers that are lists, tables or files (LIMA appendix E; ours).

Each says what first breaks the form, or None.
"""

import csv
import re
from datetime import date

from lima.evaluation.constraints_text import counted, lines

FENCE = re.compile(r"\A```(\w*)[ \t]*\n(.*?)\n?```\Z", re.DOTALL)


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
