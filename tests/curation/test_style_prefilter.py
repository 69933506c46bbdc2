"""The literal prefilter of the style rules changes no verdict."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lima.curation import style
from lima.curation.style import Phrase
from lima.records import Candidate
from lima.sources import base
from lima.sources.stack_exchange import reader
from lima.text.html_to_markdown import to_marked

ROOT = Path(__file__).parents[2]
PHRASES = (
    *style.REFERENCES,
    *style.CERTAIN,
    *style.LIKELY,
    style.OWNED,
    style.MENTION,
    style.ELSEWHERE,
    style.HANGING,
    *(word for _, word in (*style.PLACES, *style.SHOWN_ONCE)),
)
NAMED = [pytest.param(phrase, id=phrase.pattern.pattern[:40]) for phrase in PHRASES if phrase.words]


def verdicts(marked: str) -> tuple[str | None, ...]:
    return (
        style.site_reference(marked),
        style.dangling_reference(marked, links_known=True),
        style.dangling_reference(marked, links_known=False),
    )


@pytest.fixture
def without_prefilter(monkeypatch):
    """Return the verdicts of a text where every pattern is searched."""

    def searched(marked: str) -> tuple[str | None, ...]:
        with monkeypatch.context() as patch:
            patch.setattr(Phrase, "occurs_in", lambda phrase, vocabulary: True)
            return verdicts(marked)

    return searched


@pytest.mark.parametrize("phrase", NAMED)
def test_a_text_that_a_pattern_matches_has_a_word_of_its_prefilter(phrase):
    @settings(max_examples=6, deadline=None, database=None, derandomize=True)
    @given(st.from_regex(phrase.pattern))
    def holds(text: str) -> None:
        assert phrase.occurs_in(style.words_of(text))

    holds()


@pytest.mark.parametrize("text", ["as in the Sİte meta post: ON THIS SİTE", "on thıſ ſıte", "ſtac\u212aexchange"])
def test_letters_that_are_equal_without_case_are_not_missed(text, without_prefilter):
    assert verdicts(text) == without_prefilter(text)
    assert verdicts(text)[0]


def test_shipped_texts_have_the_same_verdicts_without_the_prefilter(without_prefilter):
    texts = []
    for dumps in ("stack_exchange_stem", "stack_exchange_other"):
        for row in reader.read(ROOT / "corpus/dumps" / dumps, source="s", license="", tally=base.ReadStats()):
            if isinstance(row, Candidate):
                texts += [to_marked(row.response), to_marked(row.description)]
    assert len(texts) > 100
    differing = [text for text in texts if verdicts(text) != without_prefilter(text)]
    assert differing == []
