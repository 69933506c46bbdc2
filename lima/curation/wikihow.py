"""How an article becomes an answer (LIMA §2.1)."""

from collections.abc import Callable

from lima.curation import outcomes, rewrite
from lima.curation.outcomes import Outcome
from lima.params.sections import WikihowFilter
from lima.records import Candidate


def decide(candidate: Candidate, *, p: WikihowFilter, to_markdown: Callable[[Candidate, str], str]) -> Outcome:
    if not candidate.title.strip():
        return outcomes.dropped(candidate, "empty_text", "title")
    if not candidate.response.strip():
        return outcomes.dropped(candidate, "no_answer", "no body")
    response = rewrite.article_body(to_markdown(candidate, candidate.response))
    prompt = rewrite.article_title(candidate.title, body=response)
    bad = outcomes.out_of_bounds(candidate, response, min_chars=p.min_chars, max_chars=p.max_chars)
    return bad or outcomes.example(candidate, prompt, response)
