"""Constraints on words, sentences, case and language."""

import re

from lima import constraint_types as types
from lima.constraint_types import Arguments
from lima.evaluation.constraints.structure import Rule, lines, paragraphs, sentences, words, wrong_count
from lima.text import language as identification
from lima.text import prose

LANGUAGE_CHARS = 10_000  # read to identify the language
LANGUAGE_LETTERS = 20  # fewer do not identify a language
PLACEHOLDER = re.compile(r"\[[^\[\]\n]+\](?!\()")
CHECKBOXES = frozenset(("[x]", "[X]", "[ ]"))
HIGHLIGHT = re.compile(r"(?<![*\w])(\*{1,2})(?=[^\s*])[^*\n]*[^\s*]\1(?![*\w])")
QUOTATION_MARKS = {'"': '"', "“": "”", "„": "“", "«": "»", "»": "«"}


def word_count(arguments: types.Words, text: str) -> str | None:
    return wrong_count(len(words(text)), arguments, "words")


def characters(arguments: types.Characters, text: str) -> str | None:
    return wrong_count(len(text), arguments, "characters")


def sentence_count(arguments: types.Sentences, text: str) -> str | None:
    return wrong_count(sum(len(sentences(line)) for line in lines(text)), arguments, "sentences")


def questions(arguments: types.Questions, text: str) -> str | None:
    asked = [
        sentence for line in lines(text) for sentence in sentences(line) if sentence.rstrip("\"')”’").endswith("?")
    ]
    return wrong_count(len(asked), arguments, "questions")


def paragraph_count(arguments: types.Paragraphs, text: str) -> str | None:
    return wrong_count(len(paragraphs(text)), arguments, "paragraphs")


def first_word(arguments: types.FirstWord, text: str) -> str | None:
    blocks = paragraphs(text)
    if len(blocks) < arguments.paragraph:
        return f"{len(blocks)} paragraphs, at least {arguments.paragraph}"
    first = next(iter(re.findall(r"[\w'’-]+", blocks[arguments.paragraph - 1])), "")
    if first.casefold() == arguments.word.casefold():
        return None
    return f"paragraph {arguments.paragraph} begins with {first[:40]!r}, not {arguments.word!r}"


def starts_with(arguments: types.StartsWith, text: str) -> str | None:
    start = text[: len(arguments.text)]
    return None if start == arguments.text else f"the response starts with {start[:40]!r}"


def ends_with(arguments: types.EndsWith, text: str) -> str | None:
    return None if text.endswith(arguments.text) else f"the response ends with {text[-len(arguments.text) :][-40:]!r}"


def occurrences(phrase: str, text: str) -> int:
    """Occurrences of a phrase as whole words, regardless of case and of the space between its words."""
    pattern = r"\s+".join(re.escape(part) for part in phrase.split())
    return len(re.findall(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE))


def keyword(arguments: types.Keyword, text: str) -> str | None:
    return wrong_count(occurrences(arguments.keyword, text), arguments, f"times {arguments.keyword!r}")


def contains(arguments: types.Contains, text: str) -> str | None:
    missing = next((word for word in arguments.keywords if not occurrences(word, text)), None)
    return None if missing is None else f"{missing!r} is missing"


def forbidden(arguments: types.Forbidden, text: str) -> str | None:
    used = next((word for word in arguments.keywords if occurrences(word, text)), None)
    return None if used is None else f"{used!r} occurs"


def forbidden_characters(arguments: types.ForbiddenCharacters, text: str) -> str | None:
    used = next((character for character in arguments.characters if character in text), None)
    return None if used is None else f"{used!r} occurs {text.count(used)} times"


def letter_frequency(arguments: types.LetterFrequency, text: str) -> str | None:
    number = text.casefold().count(arguments.letter.casefold())
    return wrong_count(number, arguments, f"times the letter {arguments.letter!r}")


def casing(arguments: types.Casing, text: str) -> str | None:
    if not any(character.isalpha() for character in text):
        return "the response has no letters"
    changed = text.lower() if arguments.casing == "lower" else text.upper()
    if changed == text:
        return None
    wrong = next(
        word for word in text.split() if word != (word.lower() if arguments.casing == "lower" else word.upper())
    )
    return f"{wrong[:40]!r} is not in {arguments.casing} case"


def capital_words(arguments: types.CapitalWords, text: str) -> str | None:
    number = sum(word.isupper() and sum(map(str.isalpha, word)) > 1 for word in words(text))
    return wrong_count(number, arguments, "words in capitals")


def language(arguments: types.Language, text: str) -> str | None:
    sample = " ".join(prose.own_words(text[:LANGUAGE_CHARS]).split())
    letters = sum(map(str.isalpha, sample))
    if letters < LANGUAGE_LETTERS:
        return f"{letters} letters of prose, too few to identify {arguments.language}"
    name, probability = identification.identify(sample)
    if name == arguments.language:
        return None
    return f"the language is {name} (probability {probability:.2f}), not {arguments.language}"


def choice(arguments: types.Choice, text: str) -> str | None:
    return None if text in arguments.options else f"{text[:40]!r} is not one of the options"


def quoted(arguments: types.Quoted, text: str) -> str | None:
    closing = QUOTATION_MARKS.get(text[:1])
    if len(text) > 2 and closing and text.endswith(closing):
        return None
    return "the response is not in quotation marks"


def postscript(arguments: types.Postscript, text: str) -> str | None:
    last = (paragraphs(text) or [""])[-1]
    if not last.startswith(arguments.marker):
        return f"the last paragraph begins with {last[:40]!r}, not {arguments.marker}"
    return None if last.removeprefix(arguments.marker).strip() else f"no text after {arguments.marker}"


def placeholders(arguments: types.Placeholders, text: str) -> str | None:
    number = sum(match not in CHECKBOXES for match in PLACEHOLDER.findall(text))
    return wrong_count(number, arguments, "placeholders")


def highlights(arguments: types.Highlights, text: str) -> str | None:
    return wrong_count(len(HIGHLIGHT.findall(text)), arguments, "highlighted passages")


RULES: dict[type[Arguments], Rule] = {
    types.Words: word_count,
    types.Characters: characters,
    types.Sentences: sentence_count,
    types.Questions: questions,
    types.Paragraphs: paragraph_count,
    types.FirstWord: first_word,
    types.StartsWith: starts_with,
    types.EndsWith: ends_with,
    types.Keyword: keyword,
    types.Contains: contains,
    types.Forbidden: forbidden,
    types.ForbiddenCharacters: forbidden_characters,
    types.LetterFrequency: letter_frequency,
    types.Casing: casing,
    types.CapitalWords: capital_words,
    types.Language: language,
    types.Choice: choice,
    types.Quoted: quoted,
    types.Postscript: postscript,
    types.Placeholders: placeholders,
    types.Highlights: highlights,
}
