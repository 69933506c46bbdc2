"""Constraints on lines, lists, headings and sections."""

import re
import unicodedata
from collections.abc import Callable
from itertools import cycle, pairwise

from lima import constraint_types as types
from lima.constraint_types import Arguments
from lima.evaluation.constraints.structure import BLOCK, Rule, lines, sentences, words, wrong_count
from lima.evaluation.constraints.tables import covers

BULLET = re.compile(r"[-*+•]\s+\S.*")
NUMBERED = re.compile(r"(\d{1,4})[.)]\s+\S.*")
MARKER = re.compile(r"(?:[-*+•]|\d{1,4}[.)])\s+")
HEADING = re.compile(r"(#{1,6})\s+(\S.*)")
VOWELS = re.compile(r"[aeiouyàâäáèéêëíîïóôöúùûü]+")


def line_count(arguments: types.Lines, text: str) -> str | None:
    return wrong_count(len(lines(text)), arguments, "lines")


def line_words(arguments: types.LineWords, text: str) -> str | None:
    return _each(text, lambda line: wrong_count(len(words(line)), arguments, "words"))


def line_length(arguments: types.LineLength, text: str) -> str | None:
    return _each(text, lambda line: wrong_count(len(line), arguments, "characters"))


def line_sentences(arguments: types.LineSentences, text: str) -> str | None:
    return _each(text, lambda line: wrong_count(len(sentences(line)), arguments, "sentences"))


def line_syllables(arguments: types.LineSyllables, text: str) -> str | None:
    spoken = [line for line in (MARKER.sub("", line, count=1) for line in lines(text)) if re.search(r"[^\W\d_]", line)]
    for number, (line, expected) in enumerate(zip(spoken, cycle(arguments.syllables), strict=False), start=1):
        estimate = sum(map(syllables, re.findall(r"[^\W\d_]+", line)))
        if abs(estimate - expected) > arguments.tolerance:
            return f"line {number} has about {estimate} syllables, not {expected}"
    expected_lines = len(arguments.syllables)
    if not spoken or len(spoken) % expected_lines:
        return f"{len(spoken)} lines, not a multiple of {expected_lines}"
    return None


def syllables(word: str) -> int:
    """Estimate the syllables of an English word: groups of vowels, without a silent final e."""
    groups = VOWELS.findall(word.casefold())
    silent = re.search(r"[^aeiouyl]e$|[^aeiouytd]ed$", word.casefold())
    return max(1, len(groups) - bool(silent and len(groups) > 1))


def line_pattern(arguments: types.LinePattern, text: str) -> str | None:
    import pyarrow as pa  # few prompts have a pattern
    import pyarrow.compute as pc

    candidates = lines(text)
    # RE2 matches in linear time, however the pattern is nested
    matched = pc.match_substring_regex(pa.array(candidates, pa.string()), pattern=rf"\A(?:{arguments.pattern})\z")
    missed = next((line for line, fits in zip(candidates, matched.to_pylist(), strict=True) if not fits), None)
    if missed is not None:
        return f"{missed[:40]!r} does not match {arguments.pattern}"
    return None if candidates else "the response is empty"


def shorter_lines(arguments: types.ShorterLines, text: str) -> str | None:
    sizes = [len(line) for line in lines(text)]
    if max(arguments.lines) > len(sizes):
        return f"{len(sizes)} lines, at least {max(arguments.lines)}"
    short = [sizes[number - 1] for number in arguments.lines]
    others = [size for number, size in enumerate(sizes, start=1) if number not in arguments.lines]
    return f"the lines have {sizes} characters" if others and max(short) >= min(others) else None


def sorted_lines(arguments: types.SortedLines, text: str) -> str | None:
    keys = [MARKER.sub("", line, count=1).casefold() for line in lines(text)]
    for earlier, later in pairwise(keys):
        if later < earlier or (arguments.unique and later == earlier):
            return f"{later[:40]!r} comes after {earlier[:40]!r}"
    return None if keys else "the response is empty"


def acrostic(arguments: types.Acrostic, text: str) -> str | None:
    initials = "".join(re.sub(r"[\W_]", "", line)[:1] for line in lines(text)).upper()
    return None if initials == arguments.word.upper() else f"the lines begin with {initials[:20]!r}"


def speakers(arguments: types.Speakers, text: str) -> str | None:
    for number, (line, name) in enumerate(zip(lines(text), cycle(arguments.speakers), strict=False), start=1):
        if not line.startswith(f"{name}:") or not line.removeprefix(f"{name}:").strip():
            return f"line {number} does not begin with {name}: followed by text"
    return None if text else "the response is empty"


def ascending_years(arguments: types.AscendingYears, text: str) -> str | None:
    years: list[int] = []
    for line in lines(text):
        entry = re.fullmatch(r"(\d{3,4})\s*[-–—]\s*\S.+", line)
        if not entry:
            return f"{line[:40]!r} is not a year, a dash and text"
        years.append(int(entry[1]))
    if any(later <= earlier for earlier, later in pairwise(years)):
        return f"the years do not ascend: {years}"
    return None if years else "the response is empty"


def bullets(arguments: types.Bullets, text: str) -> str | None:
    return wrong_count(sum(BULLET.fullmatch(line) is not None for line in lines(text)), arguments, "bullets")


def numbered_items(arguments: types.NumberedItems, text: str) -> str | None:
    numbers = [int(item[1]) for line in lines(text) if (item := NUMBERED.fullmatch(line))]
    for due, number in enumerate(numbers, start=1):
        if number != due:
            return f"number {number}. instead of {due}."
    return wrong_count(len(numbers), arguments, "numbered items")


def numbered_stanzas(arguments: types.NumberedStanzas, text: str) -> str | None:
    stanzas: list[list[str]] = []
    for line in lines(text):
        numbered = re.fullmatch(r"(\d{1,2})\.\s*(.*)", line)
        if numbered:
            if int(numbered[1]) != len(stanzas) + 1:
                return f"number {numbered[1]}. instead of {len(stanzas) + 1}."
            stanzas.append([numbered[2]] if numbered[2] else [])
        elif not stanzas:
            return f"text before 1.: {line[:40]!r}"
        else:
            stanzas[-1].append(line)
    for number, stanza in enumerate(stanzas, start=1):
        if len(stanza) != arguments.lines:
            return f"{number}. has {len(stanza)} lines, not {arguments.lines}"
        if arguments.max_line_words and any(len(line.split()) > arguments.max_line_words for line in stanza):
            return f"{number}. has a line of more than {arguments.max_line_words} words"
    return wrong_count(len(stanzas), arguments, "numbered stanzas")


def checkboxes(arguments: types.Checkboxes, text: str) -> str | None:
    boxes = [re.fullmatch(r"- \[([ xX])\] \S.*", line) for line in lines(text)]
    if not all(boxes):
        return "a line is not '- [x]' or '- [ ]' followed by an item"
    ticked = sum(box[1] != " " for box in boxes if box)
    fault = wrong_count(len(boxes), arguments, "boxes")
    if fault or arguments.ticked is None or ticked == arguments.ticked:
        return fault
    return f"{ticked} boxes are ticked, not {arguments.ticked}"


def headings(arguments: types.Headings, text: str) -> str | None:
    matches = [match for line in lines(text) if (match := HEADING.fullmatch(line))]
    titles = [match[2].rstrip("# ") for match in matches if arguments.level in (None, len(match[1]))]
    if arguments.titles and tuple(titles) != arguments.titles:
        return f"the headings are {titles[:10]}"
    return wrong_count(len(titles), arguments, "headings")


def sections(arguments: types.Sections, text: str) -> str | None:
    pattern = re.compile(rf"#*\s*{re.escape(arguments.marker)}\s+(\d{{1,4}})\b", re.IGNORECASE)
    numbers = [int(match[1]) for line in lines(text) if (match := pattern.match(line))]
    if numbers != list(range(1, len(numbers) + 1)):
        return f"the sections are numbered {numbers[:10]}"
    return wrong_count(len(numbers), arguments, f"sections {arguments.marker!r}")


def outline(arguments: types.Outline, text: str) -> str | None:
    numbers = [re.match(r"(?:#+ )?(\d{1,2}(?:\.\d{1,2})?)\.? +\S", line) for line in lines(text)]
    shown = [number[1] if number else "-" for number in numbers]
    points = range(1, arguments.points + 1)
    expected = [
        number
        for chapter in range(1, arguments.chapters + 1)
        for number in (str(chapter), *(f"{chapter}.{point}" for point in points))
    ]
    return None if shown == expected else f"the lines are {' '.join(shown)}"


def glossary(arguments: types.Glossary, text: str) -> str | None:
    entries: list[str] = []
    for line in filter(str.strip, text.splitlines()):
        entry = re.fullmatch(r"\*\*([^*]+)\*\*: (\S.*)", line.strip())
        if not entry:
            return f"{line[:40]!r} is not **word**: definition"
        if arguments.max_definition_words and len(entry[2].split()) > arguments.max_definition_words:
            return f"the definition of {entry[1]} has {len(entry[2].split())} words"
        entries.append(entry[1].casefold())
    if entries != sorted(set(entries)):
        return "the words are not sorted, or one occurs twice"
    return wrong_count(len(entries), arguments, "words")


def parts(arguments: types.Parts, text: str) -> str | None:
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip() == arguments.separator:
            blocks.append([])
        elif line.strip():
            blocks[-1].append(line)
    if not all(blocks):
        return "a part has no text"
    return wrong_count(len(blocks), arguments, "parts")


def title(arguments: types.Title, text: str) -> str | None:
    return None if re.search(r"<<[^<>\n]*\w[^<>\n]*>>", text) else "no title in <<double angle brackets>>"


def only(arguments: types.Only, text: str) -> str | None:
    match arguments.element:
        case "table":
            alone = covers(lines(text))
        case "code_block":
            alone = BLOCK.fullmatch(text) is not None
        case "bullets":
            alone = all(BULLET.fullmatch(line) for line in lines(text))
        case "numbered_items":
            alone = all(NUMBERED.fullmatch(line) for line in lines(text))
        case "emoji":
            kinds = {unicodedata.category(character) for character in text if not character.isspace()}
            alone = "So" in kinds and kinds <= {"So", "Sk", "Mn", "Me", "Cf"}  # with modifiers and joiners
    return None if text and alone else f"the response is not one {arguments.element.replace('_', ' ')} and nothing else"


def _each(text: str, rule: Callable[[str], str | None]) -> str | None:
    """The first violation of a line, with its number."""
    faults = ((number, rule(line)) for number, line in enumerate(lines(text), start=1))
    return next((f"line {number}: {fault}" for number, fault in faults if fault), None) or (
        None if text else "the response is empty"
    )


RULES: dict[type[Arguments], Rule] = {
    types.Lines: line_count,
    types.LineWords: line_words,
    types.LineLength: line_length,
    types.LineSentences: line_sentences,
    types.LineSyllables: line_syllables,
    types.LinePattern: line_pattern,
    types.ShorterLines: shorter_lines,
    types.SortedLines: sorted_lines,
    types.Acrostic: acrostic,
    types.Speakers: speakers,
    types.AscendingYears: ascending_years,
    types.Bullets: bullets,
    types.NumberedItems: numbered_items,
    types.NumberedStanzas: numbered_stanzas,
    types.Checkboxes: checkboxes,
    types.Headings: headings,
    types.Sections: sections,
    types.Outline: outline,
    types.Glossary: glossary,
    types.Parts: parts,
    types.Title: title,
    types.Only: only,
}
