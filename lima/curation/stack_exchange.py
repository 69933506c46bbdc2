"""Which questions and answers of a community are kept, and which text is the prompt (LIMA §2.1).

"We select the questions with the highest score that are self-contained in the title, and the top answer of each, if its
score is at least 10", of 1,200 to 4,096 characters, not in the first person, not referring to other answers.
"""

from collections.abc import Callable

from lima.curation import chance, outcomes, prose, style, titles
from lima.curation.outcomes import Outcome
from lima.params.sections import StackExchangeFilter
from lima.records import Candidate, Dropped, Example

Convert = Callable[[Candidate, str], str]  # a candidate's text to Markdown


def decide(candidate: Candidate, *, p: StackExchangeFilter, seed: int, to_markdown: Convert) -> Outcome:
    """Cheap questions first: most candidates never have their HTML converted."""
    if not candidate.response.strip():
        return outcomes.dropped(candidate, "no_answer", "no response")
    bad = outcomes.below(
        candidate, "low_response_score", candidate.response_score, least=p.prefilter.min_response_score
    )
    if bad:
        return bad
    response = prose.trimmed(to_markdown(candidate, candidate.response))
    return (
        outcomes.out_of_bounds(candidate, response, min_chars=p.min_chars, max_chars=p.max_chars)
        or mostly_quoted(candidate, response, most=p.max_quoted_share)
        or style_fault(candidate, response)
        or example(candidate, response, share=p.title_share, seed=seed, to_markdown=to_markdown)
    )


def mostly_quoted(candidate: Candidate, response: str, *, most: float) -> Dropped | None:
    share = prose.quoted_share(response)
    return outcomes.dropped(candidate, "mostly_quoted", f"{share:.2f}, at most {most}") if share > most else None


def style_fault(candidate: Candidate, response: str) -> Dropped | None:
    for reason, words in (
        ("first_person", style.first_person(response)),
        ("refers_to_site", style.reference(response)),
        ("refers_to_missing", style.missing(response)),
        ("title_not_self_contained", titles.lacks(candidate.title)),
    ):
        if words:
            return outcomes.dropped(candidate, reason, words)
    return None


def example(candidate: Candidate, response: str, *, share: float, seed: int, to_markdown: Convert) -> Example:
    """Its prompt is the title for a random `share` of candidates, else the description.

    The description stands alone, without the title, as in the released examples. Where there is none, or where it
    points at what is not there (a picture, another post), the title asks.
    """
    if chance.share(seed, candidate.id) >= share:
        description = prose.trimmed(to_markdown(candidate, candidate.description))
        if description and not style.reference(description) and not style.missing(description):
            return outcomes.example(candidate, description, response)
    return outcomes.example(candidate, candidate.title, response)
