"""Which language a text is written in, for sites that are not English throughout (ours; the paper's data are English).

py3langid, a naive Bayes classifier over byte n-grams that works offline. Code, quotations and formulas are left out
before it looks. A text too short to tell is given the benefit of the doubt.
"""

from functools import cache
from typing import cast

from lima.config.sections import Language
from lima.text import prose

NO_LANGUAGE = "zxx"  # ISO 639 for what is none, such as a list of numbers


def foreign(markdown: str, *, p: Language) -> str | None:
    """The language and its probability, where it is not the one wanted and sure enough."""
    text = " ".join(prose.said(markdown).split())
    if len(text) < p.min_chars:
        return None
    language, probability = identify(text)
    if language in (p.wanted, NO_LANGUAGE) or probability < p.least_probability:
        return None
    return f"{language}, probability {probability:.3f}"


def identify(text: str) -> tuple[str, float]:
    """ISO 639 code of the likeliest language, and its share of the probability of all."""
    language, probability = _identifier().classify(text)  # type: ignore[attr-defined]
    return cast(str, language), float(probability)


@cache
def _identifier() -> object:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # a second to load

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
