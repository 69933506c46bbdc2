"""Kinds of verifiable instructions with their arguments, as in IFEval (LIMA appendix E; not specified in the paper).

A line of the corpus lists them: `"constraints": [{"constraint": "lines", "count": 5}]`. The names of keys are those of
the fields below. `lima.evaluation.constraints` verifies a response.
"""

from typing import Annotated, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_serializer,
    field_validator,
    model_validator,
)

Text = Annotated[str, Field(min_length=1, max_length=1000)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]
ValueType = Literal["string", "number", "integer", "boolean", "list", "mapping", "date", "null"]


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Counted(Arguments):
    """A number of things: `count` is exact, `min` and `max` are inclusive."""

    count: NonNegativeInt | None = None
    min: NonNegativeInt | None = None
    max: NonNegativeInt | None = None

    @model_validator(mode="after")
    def has_one_range(self) -> Self:
        bounds = (self.min, self.max)
        if (self.count is None) == (bounds == (None, None)):
            raise ValueError("set either count, or min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


# --- words and sentences -------------------------------------------------------------------------------------------


class Words(Counted):
    """Words, separated by spaces or dashes; a word contains a letter or digit and may contain hyphens."""

    constraint: Literal["words"]


class Characters(Counted):
    """Characters of the response, with spaces and line breaks between its parts."""

    constraint: Literal["characters"]


class Sentences(Counted):
    """Sentences: a line or part of a line up to `.`, `!` or `?` before a capital letter or the end of the line."""

    constraint: Literal["sentences"]


class Questions(Counted):
    """Sentences that end with a question mark."""

    constraint: Literal["questions"]


class Paragraphs(Counted):
    """Blocks separated by empty lines."""

    constraint: Literal["paragraphs"]


class FirstWord(Arguments):
    """The first word of a paragraph, 1 being the first paragraph; case is ignored."""

    constraint: Literal["paragraph_first_word"]
    paragraph: PositiveInt
    word: Text


class StartsWith(Arguments):
    """The response starts with this text."""

    constraint: Literal["starts_with"]
    text: Text


class EndsWith(Arguments):
    """The response ends with this text."""

    constraint: Literal["ends_with"]
    text: Text


class Keyword(Counted):
    """Occurrences of a word or phrase, as whole words; case is ignored."""

    constraint: Literal["keyword"]
    keyword: Text


class Contains(Arguments):
    """Words or phrases that all occur, as whole words; case is ignored."""

    constraint: Literal["contains"]
    keywords: Texts


class Forbidden(Arguments):
    """Words or phrases that do not occur as whole words; case is ignored."""

    constraint: Literal["forbidden"]
    keywords: Texts


class ForbiddenCharacters(Arguments):
    """Characters that do not occur: `","` forbids commas."""

    constraint: Literal["forbidden_characters"]
    characters: Text


class LetterFrequency(Counted):
    """Occurrences of a letter; case is ignored."""

    constraint: Literal["letter_frequency"]
    letter: Annotated[str, Field(min_length=1, max_length=1)]


class Casing(Arguments):
    """All letters are lower case or upper case."""

    constraint: Literal["casing"]
    casing: Literal["lower", "upper"]


class CapitalWords(Counted):
    """Words of at least two letters in capitals only."""

    constraint: Literal["capital_words"]


class Language(Arguments):
    """The language of the prose, as an ISO 639-1 code; at least 20 letters are needed to identify it."""

    constraint: Literal["language"]
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class Choice(Arguments):
    """The response is one of these texts and nothing else."""

    constraint: Literal["choice"]
    options: Texts


class Quoted(Arguments):
    """The whole response is in double quotation marks, straight or typographic."""

    constraint: Literal["quoted"]


class Postscript(Arguments):
    """The last paragraph begins with this marker and goes on."""

    constraint: Literal["postscript"]
    marker: Text = "P.S."


class Placeholders(Counted):
    """Placeholders in square brackets, such as `[address]`; check boxes and links are not placeholders."""

    constraint: Literal["placeholders"]


class Highlights(Counted):
    """Emphasized passages: `*so*`, `**so**`."""

    constraint: Literal["highlights"]


# --- lines and lists -----------------------------------------------------------------------------------------------


class Lines(Counted):
    """Non-empty lines."""

    constraint: Literal["lines"]


class LineWords(Counted):
    """Words of each non-empty line."""

    constraint: Literal["line_words"]


class LineLength(Counted):
    """Characters of each non-empty line."""

    constraint: Literal["line_length"]


class LineSentences(Counted):
    """Sentences of each non-empty line."""

    constraint: Literal["line_sentences"]


class LineSyllables(Arguments):
    """Syllables of the non-empty lines in turn, estimated from vowels (English): `[5, 7, 5]` for haiku."""

    constraint: Literal["line_syllables"]
    syllables: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    tolerance: NonNegativeInt = 1


class LinePattern(Arguments):
    """Every non-empty line matches a regular expression as a whole (RE2 syntax, without backreferences)."""

    constraint: Literal["line_pattern"]
    pattern: Text

    @field_validator("pattern")
    @classmethod
    def compiles(cls, pattern: str) -> str:
        import pyarrow as pa  # only lines with a pattern need it
        import pyarrow.compute as pc

        try:
            pc.match_substring_regex(pa.array([""]), pattern=pattern)
        except pa.ArrowInvalid as error:
            raise ValueError(f"not an RE2 regular expression: {error}") from error
        return pattern


class ShorterLines(Arguments):
    """These lines, 1 being the first, each have fewer characters than each of the other lines."""

    constraint: Literal["shorter_lines"]
    lines: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class SortedLines(Arguments):
    """Non-empty lines in alphabetical order, without list markers; case is ignored."""

    constraint: Literal["sorted_lines"]
    unique: bool = True


class Acrostic(Arguments):
    """The first letters of the lines spell a word; punctuation before them and case are ignored."""

    constraint: Literal["acrostic"]
    word: Text


class Speakers(Arguments):
    """Each line is `SPEAKER: text`; the speakers take turns in this order."""

    constraint: Literal["speakers"]
    speakers: Annotated[tuple[Text, ...], Field(min_length=2)]


class AscendingYears(Arguments):
    """Each line is a year of three or four digits, a dash and text; the years ascend."""

    constraint: Literal["ascending_years"]


class Bullets(Counted):
    """Lines that begin with `-`, `*`, `+` or `•` and a space."""

    constraint: Literal["bullets"]


class NumberedItems(Counted):
    """Lines that begin with `1.`, `2.`, … in order."""

    constraint: Literal["numbered_items"]


class NumberedStanzas(Counted):
    """Stanzas numbered `1.`, `2.`, …, of a number of lines each; nothing precedes the first number."""

    constraint: Literal["numbered_stanzas"]
    lines: PositiveInt
    max_line_words: PositiveInt | None = None


class Checkboxes(Counted):
    """Only check boxes, `- [x]` or `- [ ]`, each followed by an item; `ticked` of them are ticked."""

    constraint: Literal["checkboxes"]
    ticked: NonNegativeInt | None = None


class Headings(Counted):
    """Markdown headings `#` to `######`; `level` counts those of one level only, `titles` are theirs in order."""

    constraint: Literal["headings"]
    level: Annotated[int, Field(ge=1, le=6)] | None = None
    titles: tuple[Text, ...] = ()


class Sections(Counted):
    """Sections numbered in order by lines that begin with the marker: `SECTION 1`, `SECTION 2`."""

    constraint: Literal["sections"]
    marker: Text


class Outline(Arguments):
    """Only the lines 1, 1.1, 1.2, …, 2, 2.1, …, each followed by text."""

    constraint: Literal["outline"]
    chapters: Annotated[int, Field(ge=1, le=99)]
    points: Annotated[int, Field(ge=0, le=99)]


class Glossary(Counted):
    """Only lines `**word**: definition`, sorted by word, without repetition."""

    constraint: Literal["glossary"]
    max_definition_words: PositiveInt | None = None


class Parts(Counted):
    """Parts of the response between lines that consist of the separator, such as `***`."""

    constraint: Literal["parts"]
    separator: Text


class Title(Arguments):
    """A title in double angle brackets, `<<title>>`."""

    constraint: Literal["title"]


class Only(Arguments):
    """The response consists of one such element and nothing else."""

    constraint: Literal["only"]
    element: Literal["table", "code_block", "bullets", "numbered_items", "emoji"]


# --- tables, files and code ----------------------------------------------------------------------------------------


class TableHeader(Arguments):
    """The column names of the first Markdown table."""

    constraint: Literal["table_header"]
    columns: Texts


class TableRows(Counted):
    """Rows of the first Markdown table below its header, each with as many cells as it; no cell is empty."""

    constraint: Literal["table_rows"]


class CodeBlocks(Counted):
    """Fenced code blocks; `languages` are those allowed after the opening fence, `""` for none; case is ignored."""

    constraint: Literal["code_blocks"]
    languages: tuple[str, ...] = ()


class Mapping(Arguments):
    """Keys and values of a mapping at the top level, in a code block or alone.

    `keys` are all keys, in order if `ordered`. `types` and `lengths` are given by key: the type of a value, and the
    number of items of a list or mapping.
    """

    keys: tuple[Text, ...] = ()
    ordered: bool = False
    types: tuple[tuple[Text, ValueType], ...] = ()
    lengths: tuple[tuple[Text, NonNegativeInt], ...] = ()

    @field_validator("types", "lengths", mode="before")
    @classmethod
    def by_key(cls, value: object) -> object:
        """Accept a JSON object; its pairs are kept, so that a constraint is immutable."""
        return tuple(value.items()) if isinstance(value, dict) else value

    @field_serializer("types", "lengths")
    def as_object(self, pairs: tuple[tuple[str, str | int], ...]) -> dict[str, str | int]:
        return dict(pairs)


class JsonObject(Mapping):
    """A JSON object, in a code block or alone: all its `keys`, in order if `ordered`, `types` and `lengths` by key."""

    constraint: Literal["json"]


class YamlMapping(Mapping):
    """A YAML mapping, in a code block or alone: all its `keys`, in order if `ordered`, `types` and `lengths` by key."""

    constraint: Literal["yaml"]


class CsvHeader(Arguments):
    """The header of a CSV file, in a code block or alone."""

    constraint: Literal["csv_header"]
    columns: Texts


class CsvRows(Counted):
    """Rows of a CSV file below its header, each with as many cells as it; no cell is empty."""

    constraint: Literal["csv_rows"]


class CsvColumn(Arguments):
    """Values of a column of a CSV file: their type, range and order."""

    constraint: Literal["csv_column"]
    column: Text
    type: Literal["integer", "number", "date"]  # a date is YYYY-MM-DD
    min: float | None = None
    max: float | None = None
    ascending: bool = False

    @model_validator(mode="after")
    def compares_numbers(self) -> Self:
        if self.type == "date" and (self.min, self.max) != (None, None):
            raise ValueError("min and max apply to numbers; remove them from a column of dates")
        return self


Constraint = Annotated[
    Words
    | Characters
    | Sentences
    | Questions
    | Paragraphs
    | FirstWord
    | StartsWith
    | EndsWith
    | Keyword
    | Contains
    | Forbidden
    | ForbiddenCharacters
    | LetterFrequency
    | Casing
    | CapitalWords
    | Language
    | Choice
    | Quoted
    | Postscript
    | Placeholders
    | Highlights
    | Lines
    | LineWords
    | LineLength
    | LineSentences
    | LineSyllables
    | LinePattern
    | ShorterLines
    | SortedLines
    | Acrostic
    | Speakers
    | AscendingYears
    | Bullets
    | NumberedItems
    | NumberedStanzas
    | Checkboxes
    | Headings
    | Sections
    | Outline
    | Glossary
    | Parts
    | Title
    | Only
    | TableHeader
    | TableRows
    | CodeBlocks
    | JsonObject
    | YamlMapping
    | CsvHeader
    | CsvRows
    | CsvColumn,
    Field(discriminator="constraint"),
]

KINDS: tuple[type[Arguments], ...] = get_args(get_args(Constraint)[0])


def kind(model: type[Arguments]) -> str:
    """The name of a kind in the corpus: the value of its key `constraint`."""
    name: str = get_args(model.model_fields["constraint"].annotation)[0]
    return name
