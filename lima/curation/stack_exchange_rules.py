"""Which questions and answers of a community are kept, and which text is the prompt (LIMA §2.1).

"We select the questions with the highest score that are self-contained in the title, and the top answer of each, if its
score is at least 10", of 1,200 to 4,096 characters, not in the first person, not referring to other answers.
"""

from collections.abc import Callable

from lima.config.sections import StackExchangeFilter
from lima.curation import decisions, hashing, style, titles
from lima.curation.decisions import Outcome
from lima.records import Candidate, Dropped, Example
from lima.text import prose

Convert = Callable[[Candidate, str], str]  # a candidate's text to Markdown


def decide(
    candidate: Candidate, *, p: StackExchangeFilter, seed: int, to_markdown: Convert, to_marked: Convert
) -> Outcome:
    """Cheap questions first: most candidates never have their HTML converted."""
    if not candidate.response.strip():
        return decisions.dropped(candidate, "no_answer", "no response")
    bad = decisions.below(
        candidate, "low_response_score", candidate.response_score, least=p.prefilter.min_response_score
    )
    if bad:
        return bad
    response = prose.trimmed(to_markdown(candidate, candidate.response))
    return (
        decisions.out_of_bounds(candidate, response, min_chars=p.min_chars, max_chars=p.max_chars)
        or mostly_quoted(candidate, response, most=p.max_quoted_share)
        or style_fault(candidate, response, to_marked(candidate, candidate.response))
        or asked(candidate, response, share=p.title_share, seed=seed, to_markdown=to_markdown, to_marked=to_marked)
    )


def mostly_quoted(candidate: Candidate, response: str, *, most: float) -> Dropped | None:
    share = prose.quoted_share(response)
    return decisions.dropped(candidate, "mostly_quoted", f"{share:.2f}, at most {most}") if share > most else None


def style_fault(candidate: Candidate, response: str, marked: str) -> Dropped | None:
    """`marked` is the same response with `lima.text.removal_marks`, which says where links and images were."""
    for reason, words in (
        ("first_person", style.first_person(response)),
        ("refers_to_site", style.reference(response)),
        ("refers_to_missing", style.missing(marked, links_known=candidate.markup == "html")),
        ("title_not_self_contained", titles.lacks(candidate.title)),
    ):
        if words:
            return decisions.dropped(candidate, reason, words)
    return None


def asked(
    candidate: Candidate, response: str, *, share: float, seed: int, to_markdown: Convert, to_marked: Convert
) -> Outcome:
    """The example, unless only its title can be the prompt and cannot be asked alone."""
    prompt, fault = _prompt(candidate, response, share=share, seed=seed, to_markdown=to_markdown, to_marked=to_marked)
    return fault or decisions.example(candidate, prompt, response)


def example(
    candidate: Candidate, response: str, *, share: float, seed: int, to_markdown: Convert, to_marked: Convert
) -> Example:
    """The example with the best prompt there is, however that asks."""
    prompt, _ = _prompt(candidate, response, share=share, seed=seed, to_markdown=to_markdown, to_marked=to_marked)
    return decisions.example(candidate, prompt, response)


def _prompt(
    candidate: Candidate, response: str, *, share: float, seed: int, to_markdown: Convert, to_marked: Convert
) -> tuple[str, Dropped | None]:
    """The title for a random `share` of candidates, else the description, and why the prompt asks too little.

    The description stands alone, without the title, as in the released examples. Where there is none, or where it
    points at what is not there (a picture, another post), the title asks. Where the title asks nothing, or the response
    answers the body, the description asks.
    """
    description = prose.trimmed(to_markdown(candidate, candidate.description))
    marked = to_marked(candidate, candidate.description)
    stands_alone = bool(description) and not (
        style.reference(description) or style.missing(marked, links_known=candidate.markup == "html")
    )
    by_title = hashing.hash_uniform(seed, candidate.id) < share
    if stands_alone and not by_title:
        return description, None
    fault = None
    if not titles.asks(candidate.title):
        fault = decisions.dropped(candidate, "not_a_question", candidate.title)
    elif words := titles.answers_body(candidate.title, description, response):
        fault = decisions.dropped(candidate, "answers_body", words)
    if stands_alone and (fault or titles.may_answer_body(candidate.title, description, response)):
        return description, None
    return candidate.title, fault
