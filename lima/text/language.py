"""Language identification of prose, for sources that are not English throughout (not in the paper).

Uses py3langid, an offline naive Bayes classifier over byte n-grams. Code, quotations and formulas are removed first.
Texts below a minimum length pass: the classifier is not reliable on them.
"""

from functools import cache
from typing import Protocol

from lima.config.sections import Language
from lima.text import prose

NO_LANGUAGE = "zxx"  # ISO 639 code for text without linguistic content, such as a list of numbers


class Identifier(Protocol):
    """The part of py3langid's LanguageIdentifier that is used here."""

    def classify(self, text: str) -> tuple[str, float]: ...


def foreign(markdown: str, *, settings: Language) -> str | None:
    """The detected language and its probability if the text is not in the wanted language; otherwise None.

    Probabilities below `settings.least_probability` count as the wanted language.
    """
    text = " ".join(prose.own_words(markdown).split())
    if len(text) < settings.min_chars:
        return None
    language, probability = identify(text)
    if language in (settings.wanted, NO_LANGUAGE) or probability < settings.least_probability:
        return None
    return f"{language}, probability {probability:.3f}"


def identify(text: str) -> tuple[str, float]:
    """ISO 639 code of the most likely language, and its probability in [0, 1], normalized over all languages."""
    language, probability = _identifier().classify(text)
    return language, float(probability)


@cache
def _identifier() -> Identifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # takes about a second to load

    identifier: Identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return identifier
