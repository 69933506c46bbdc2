"""Rules for wikiHow articles: the title becomes the prompt, the body the response (LIMA §2.1)."""

from collections.abc import Iterable

from lima.config.sections import Filter, WikihowFilter
from lima.curation import decisions, rewriting
from lima.curation.conversations import unfiltered
from lima.curation.decisions import Convert, Outcome, Outcomes
from lima.records import Candidate

__all__ = ["outcomes", "unfiltered"]


def outcomes(
    candidates: Iterable[Candidate], *, settings: Filter, to_markdown: Convert, to_marked: Convert
) -> Outcomes:
    for candidate in candidates:
        yield candidate, decide(candidate, settings=settings.wikihow, to_markdown=to_markdown)


def decide(candidate: Candidate, *, settings: WikihowFilter, to_markdown: Convert) -> Outcome:
    if not candidate.title.strip():
        return decisions.dropped(candidate, "empty_text", "title")
    if not candidate.response.strip():
        return decisions.dropped(candidate, "no_answer", "no body")
    response = rewriting.article_body(to_markdown(candidate, candidate.response))
    prompt = rewriting.article_title(candidate.title, body=response)
    fault = decisions.out_of_bounds(candidate, response, min_chars=settings.min_chars, max_chars=settings.max_chars)
    return fault or decisions.example(candidate, prompt, response)
