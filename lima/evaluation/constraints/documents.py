"""Constraints on code blocks and on responses that are a JSON, YAML or CSV file."""

import csv
import json
import re
import reprlib
from collections.abc import Callable
from datetime import date
from itertools import pairwise

from lima import constraint_types as types
from lima.constraint_types import Arguments
from lima.evaluation.constraints.structure import Rule, code_blocks, document, wrong_count

YAML_CHARS = 20_000  # of a YAML file: the parser is slow
YAML_DEPTH = 50  # nested brackets
YAML_ALIASES = 10  # references to anchors, which multiply when they are nested
ALIAS = re.compile(r"(?m)(?:^|[\s,\[{])\*[^\s*]")

IS_TYPE: dict[types.ValueType, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "mapping": lambda value: isinstance(value, dict),
    "date": lambda value: isinstance(value, date) or (isinstance(value, str) and is_date(value)),
    "null": lambda value: value is None,
}


class Unreadable(Exception):
    """A text is not a file of the format; the message says why."""


def blocks(arguments: types.CodeBlocks, text: str) -> str | None:
    fenced = code_blocks(text)
    allowed = {language.casefold() for language in arguments.languages}
    wrong = next((language for language, _ in fenced if allowed and language.casefold() not in allowed), None)
    if wrong is not None:
        return f"a code block is marked {wrong[:20]!r}, not {' or '.join(map(repr, arguments.languages))}"
    return wrong_count(len(fenced), arguments, "code blocks")


def json_object(arguments: types.JsonObject, text: str) -> str | None:
    try:
        return mapping_fault(
            arguments, json.loads(document(text), object_pairs_hook=_unique, parse_constant=_no_number)
        )
    except (ValueError, RecursionError, Unreadable) as error:
        return f"not valid JSON: {str(error)[:80]}"


def yaml_mapping(arguments: types.YamlMapping, text: str) -> str | None:
    try:
        return mapping_fault(arguments, yaml_value(document(text)))
    except Unreadable as error:
        return f"not valid YAML: {error}"


def yaml_value(text: str) -> object:
    """Parse a YAML file of limited size, depth and number of aliases.

    Raises:
        Unreadable: above a limit, or not valid YAML.
    """
    from ruamel.yaml import YAML  # few prompts need it
    from ruamel.yaml.error import YAMLError

    if len(text) > YAML_CHARS:
        raise Unreadable(f"{len(text)} characters, at most {YAML_CHARS} are read")
    if depth(text) > YAML_DEPTH:
        raise Unreadable(f"more than {YAML_DEPTH} nested brackets")
    if "&" in text and len(ALIAS.findall(text)) > YAML_ALIASES:
        raise Unreadable(f"more than {YAML_ALIASES} aliases")
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(str(error)[:80]) from error


def depth(text: str) -> int:
    """Largest number of brackets that are open at once."""
    opened = deepest = 0
    for bracket in re.findall(r"[\[{\]}]", text):
        opened = opened + 1 if bracket in "[{" else max(0, opened - 1)
        deepest = max(deepest, opened)
    return deepest


def mapping_fault(arguments: types.Mapping, values: object) -> str | None:
    if not isinstance(values, dict):
        return f"not a mapping: {reprlib.repr(values)}"
    keys = tuple(values)
    if arguments.keys and (keys != arguments.keys if arguments.ordered else set(keys) != set(arguments.keys)):
        return f"the keys are {list(keys)[:20]}"
    for key, expected in arguments.types:
        if key not in values:
            return f"{key} is missing"
        if not IS_TYPE[expected](values[key]):
            return f"{key} is not a {expected}: {reprlib.repr(values[key])}"
    for key, length in arguments.lengths:
        value = values.get(key)
        if not isinstance(value, list | dict):
            return f"{key} is not a list or mapping: {reprlib.repr(value)}"
        if len(value) != length:
            return f"{key} has {len(value)} items, not {length}"
    return None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise Unreadable("a key occurs twice")
    return values


def _no_number(name: str) -> None:
    raise Unreadable(f"{name} is not a number in JSON")


def csv_rows(text: str) -> list[list[str]]:
    """Header and rows of a CSV file. Raises Unreadable."""
    try:
        return list(csv.reader(document(text).splitlines()))
    except csv.Error as error:
        raise Unreadable(f"not a CSV file: {error}") from error


def csv_header(arguments: types.CsvHeader, text: str) -> str | None:
    try:
        rows = csv_rows(text)
    except Unreadable as error:
        return str(error)
    return None if rows and tuple(rows[0]) == arguments.columns else f"the header is {rows[:1]}"


def csv_row_count(arguments: types.CsvRows, text: str) -> str | None:
    try:
        header, *rows = csv_rows(text) or [[]]
    except Unreadable as error:
        return str(error)
    for row in rows:
        if len(row) != len(header) or not all(cell.strip() for cell in row):
            return f"{row} does not have {len(header)} non-empty cells"
    return wrong_count(len(rows), arguments, "rows")


def csv_column(arguments: types.CsvColumn, text: str) -> str | None:
    try:
        header, *rows = csv_rows(text) or [[]]
    except Unreadable as error:
        return str(error)
    if arguments.column not in header:
        return f"no column {arguments.column!r}: the header is {header}"
    index = header.index(arguments.column)
    keys: list[str] | list[float] = []
    for row in rows:
        cell = row[index] if index < len(row) else ""
        key = cell if arguments.type == "date" else _number(cell.strip(), whole=arguments.type == "integer")
        if key is None or (arguments.type == "date" and not is_date(cell)):
            return f"{cell[:40]!r} is not {'an' if arguments.type == 'integer' else 'a'} {arguments.type}"
        if isinstance(key, float) and (
            (arguments.min is not None and key < arguments.min) or (arguments.max is not None and key > arguments.max)
        ):
            return f"{cell[:40]!r} is not a {arguments.column} from {_shown(arguments.min)} to {_shown(arguments.max)}"
        keys.append(key)  # type: ignore[arg-type]  # all keys of a column are of one type
    if arguments.ascending and any(later < earlier for earlier, later in pairwise(keys)):  # type: ignore[operator]
        return f"the column {arguments.column} is not in order"
    return None


def _number(cell: str, *, whole: bool) -> float | None:
    """A decimal number without leading zeros; None if it is not one."""
    pattern = r"-?(?:0|[1-9][0-9]{0,14})" + ("" if whole else r"(?:\.[0-9]{1,15})?")
    return float(cell) if re.fullmatch(pattern, cell) else None


def _shown(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"


def is_date(day: str) -> bool:
    """Whether a text is an existing day as YYYY-MM-DD."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
        return False
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    return True


RULES: dict[type[Arguments], Rule] = {
    types.CodeBlocks: blocks,
    types.JsonObject: json_object,
    types.YamlMapping: yaml_mapping,
    types.CsvHeader: csv_header,
    types.CsvRows: csv_row_count,
    types.CsvColumn: csv_column,
}
