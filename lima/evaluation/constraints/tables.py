"""Constraints on Markdown tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lima import constraint_types as types
from lima.constraint_types import Arguments
from lima.evaluation.constraints.structure import Rule, lines, wrong_count

UNESCAPED_PIPE = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Table:
    header: list[str]
    rows: list[list[str]]
    start: int  # number of lines before it
    end: int  # number of lines up to its last row


def table(text_lines: Sequence[str]) -> Table | None:
    """The first table: a header, a delimiter row of as many cells, and all further lines with a pipe."""
    for number in range(1, len(text_lines)):
        if "|" not in text_lines[number - 1] or "|" not in text_lines[number]:
            continue
        header, delimiters = cells(text_lines[number - 1]), cells(text_lines[number])
        if len(header) == len(delimiters) and all(re.fullmatch(r":?-+:?", cell) for cell in delimiters):
            end = next((n for n in range(number, len(text_lines)) if "|" not in text_lines[n]), len(text_lines))
            return Table(header, [cells(line) for line in text_lines[number + 1 : end]], number - 1, end)
    return None


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in UNESCAPED_PIPE.split(line.strip().strip("|"))]


def covers(text_lines: Sequence[str]) -> bool:
    """Whether the lines are one table and nothing else."""
    only = table(text_lines)
    return only is not None and only.start == 0 and only.end == len(text_lines)


def header(arguments: types.TableHeader, text: str) -> str | None:
    first = table(lines(text))
    if first is None:
        return "no table: a header and a delimiter row below it"
    return None if tuple(first.header) == arguments.columns else f"the columns are {first.header}"


def rows(arguments: types.TableRows, text: str) -> str | None:
    first = table(lines(text))
    if first is None:
        return "no table: a header and a delimiter row below it"
    if any(len(row) != len(first.header) or not all(row) for row in first.rows):
        return f"a row does not have {len(first.header)} non-empty cells"
    return wrong_count(len(first.rows), arguments, "rows")


RULES: dict[type[Arguments], Rule] = {types.TableHeader: header, types.TableRows: rows}
