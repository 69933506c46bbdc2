"""Rules for Stack Exchange: selection of questions and answers, and of the prompt's text (LIMA §2.1).

"We select the questions with the highest score that are self-contained in the title, and the top answer of each, if its
score is at least 10", of 1,200 to 4,096 characters, not in the first person, not referring to other answers.
"""

from collections.abc import Callable, Iterable
from functools import partial

from lima.config.sections import Filter, StackExchangeFilter
from lima.curation import decisions, hashing, style, titles
from lima.curation.decisions import Convert, Outcome, Outcomes
from lima.records import Candidate, Dropped
from lima.text import prose, removal_marks


def outcomes(
    candidates: Iterable[Candidate], *, settings: Filter, to_markdown: Convert, to_marked: Convert
) -> Outcomes:
    for candidate in candidates:
        yield (
            candidate,
            decide(
                candidate,
                settings=settings.stack_exchange,
                seed=settings.seed,
                to_markdown=to_markdown,
                to_marked=to_marked,
            ),
        )


def unfiltered(candidate: Candidate, *, settings: Filter, to_markdown: Convert, to_marked: Convert) -> Outcome:
    """The example with the best available prompt, even if that prompt is unsuitable."""
    response, share = to_markdown(candidate, candidate.response), settings.stack_exchange.title_share
    prompt, _ = _prompt(
        candidate, response, share=share, seed=settings.seed, to_markdown=to_markdown, to_marked=to_marked
    )
    return decisions.example(candidate, prompt, response)


def decide(
    candidate: Candidate, *, settings: StackExchangeFilter, seed: int, to_markdown: Convert, to_marked: Convert
) -> Outcome:
    """Cheap rules come first, so that the HTML of most candidates is never converted."""
    if not candidate.response.strip():
        return decisions.dropped(candidate, "no_answer", "no response")
    fault = decisions.below(
        candidate, "low_response_score", candidate.response_score, least=settings.prefilter.min_response_score
    )
    if fault:
        return fault
    response = prose.trimmed(to_markdown(candidate, candidate.response))
    return (
        decisions.out_of_bounds(candidate, response, min_chars=settings.min_chars, max_chars=settings.max_chars)
        or mostly_quoted(candidate, response, most=settings.max_quoted_share)
        or style_fault(candidate, response, partial(to_marked, candidate, candidate.response))
        or with_prompt(
            candidate, response, share=settings.title_share, seed=seed, to_markdown=to_markdown, to_marked=to_marked
        )
    )


def mostly_quoted(candidate: Candidate, response: str, *, most: float) -> Dropped | None:
    share = prose.quoted_share(response)
    return decisions.dropped(candidate, "mostly_quoted", f"{share:.2f}, at most {most}") if share > most else None


def style_fault(candidate: Candidate, response: str, marked: Callable[[], str]) -> Dropped | None:
    """First violated style rule; rules after it are not evaluated.

    Args:
        candidate: The candidate.
        response: Its response as Markdown.
        marked: Returns the response with `lima.text.removal_marks` at removed content.
    """
    rules: tuple[tuple[str, Callable[[], str | None]], ...] = (
        ("first_person", lambda: style.first_person(response)),
        ("refers_to_site", lambda: style.site_reference(response)),
        ("refers_to_missing", lambda: style.dangling_reference(marked(), links_known=candidate.markup == "html")),
        ("title_not_self_contained", lambda: titles.missing_context(candidate.title)),
    )
    for reason, evidence in rules:
        if words := evidence():
            return decisions.dropped(candidate, reason, words)
    return None


def with_prompt(
    candidate: Candidate, response: str, *, share: float, seed: int, to_markdown: Convert, to_marked: Convert
) -> Outcome:
    """The example; dropped if only the title can be the prompt and the title is unsuitable."""
    prompt, fault = _prompt(candidate, response, share=share, seed=seed, to_markdown=to_markdown, to_marked=to_marked)
    return fault or decisions.example(candidate, prompt, response)


def _prompt(
    candidate: Candidate, response: str, *, share: float, seed: int, to_markdown: Convert, to_marked: Convert
) -> tuple[str, Dropped | None]:
    """The prompt, and the reason why it is unsuitable, if it is.

    The title is the prompt of a random `share` of candidates, the description of the others, without the title as in
    the released examples. The title is used if the description is empty, begins with a reference to the title ("Is this
    safe?"), refers to something missing (an image, another post), or lost an image and the response refers to it. The
    description is used if the title is not a question or the response answers the body.
    """
    description = prose.trimmed(to_markdown(candidate, candidate.description))
    marked = to_marked(candidate, candidate.description)
    self_contained = bool(description) and not (
        titles.needs_title(description, title=candidate.title, response=response)
        or style.site_reference(description)
        or style.dangling_reference(marked, links_known=candidate.markup == "html")
        or (removal_marks.CUT in marked and titles.answers_body(candidate.title, description, response))
    )
    by_title = hashing.hash_uniform(seed, candidate.id) < share
    if self_contained and not by_title:
        return description, None
    fault = None
    if not titles.is_question(candidate.title):
        fault = decisions.dropped(candidate, "not_a_question", candidate.title)
    elif words := titles.answers_body(candidate.title, description, response):
        fault = decisions.dropped(candidate, "answers_body", words)
    if self_contained and (fault or titles.may_answer_body(candidate.title, description, response)):
        return description, None
    return candidate.title, fault
