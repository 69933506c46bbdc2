"""Outcomes of filtering a candidate, and all reasons for dropping one (LIMA §2)."""

from collections.abc import Callable, Iterator
from typing import Protocol

from lima.records import Candidate, Dropped, Example, Prompt, Turn

Outcome = Example | Prompt | Dropped
Outcomes = Iterator[tuple[Candidate, Outcome]]
Convert = Callable[[Candidate, str], str]  # a candidate's text to Markdown

# In the order of the checks, so that a funnel reads from top to bottom. Brackets name the detail of a Dropped.
REASONS = {
    # selection of candidates
    "other_subreddit": "from a subreddit that is neither for training nor for prompts [subreddit]",
    "other_language": "a task or text that is not in English [its language tags, or the detected language]",
    "other_category": "a task whose category is not language generation [its categories]",
    "few_distinct_outputs": "a task with repeated outputs, that is, a classification [share of distinct outputs]",
    "short_outputs": "a task whose outputs are labels or names [median words]",
    # content
    "empty_text": "a turn without text, or a prompt without text [which]",
    "turns_do_not_alternate": "a dialogue in which user and assistant do not alternate [the roles]",
    "no_answer": "no response",
    "removed": "a response or prompt removed by its author or a moderator [its text]",
    "moderator": "a notice of a moderator or bot, or a post about the community [the words]",
    "not_a_premise": "a tag that does not ask for a story, or asks for one about an image [the tag]",
    "has_body": "a question with a body, for which only the title can be the prompt [characters]",
    "low_score": "a submission with too few votes [votes]",
    "low_response_score": "a response with too few votes [votes]",
    "response_equals_input": "an output that repeats its input [its words]",
    "unpolished": "an output not written for a reader, or a task with too many such outputs [the evidence, the share]",
    "unrelated": "an output unrelated to its input, or a task with too many such outputs [its words, the share]",
    "prompt_too_long": "a prompt that is too long [characters]",
    "too_short": "a response below min_chars of Markdown [characters]",
    "too_long": "a response above max_chars of Markdown [characters]",
    # style of an assistant
    "mostly_quoted": "a response that consists mostly of quotations [share of block quotations]",
    "first_person": "a response in the first person [the words]",
    "refers_to_site": "a text that refers to other answers, comments, users or the site [the words]",
    "refers_to_missing": "a response that refers to a removed link or image [the words]",
    "incomplete": "a story that continues elsewhere [the words]",
    "title_not_self_contained": "a title that cannot be understood alone [what it lacks]",
    "not_a_question": "a title that is not a question, where no other prompt is left [the title]",
    "answers_body": "a response to the body of a question of which only the title can be the prompt [the words]",
    # a person's decision
    "rejected_by_hand": "rejected by a person in hand selection [the reason]",
    # privacy and duplicates
    "secret": "a text with a private key [the kind]",
    "near_duplicate": "near duplicate of a record with more votes or a longer response [its id, Jaccard index]",
}

# The setting in params.yaml that controls each reason. READER is replaced by the source's reader.
SETTINGS = {
    "other_subreddit": "filter.READER.prefilter.train_subreddits",
    "other_language": "filter.language.least_probability",
    "other_category": "filter.READER.categories",
    "few_distinct_outputs": "filter.READER.min_distinct_share",
    "short_outputs": "filter.READER.min_median_words",
    "low_score": "filter.READER.min_score",
    "low_response_score": "filter.READER.min_response_score",
    "unpolished": "filter.READER.max_unpolished_share",
    "unrelated": "filter.READER.max_unrelated_share",
    "prompt_too_long": "filter.READER.max_prompt_chars",
    "too_short": "filter.READER.min_chars",
    "too_long": "filter.READER.max_chars",
    "mostly_quoted": "filter.READER.max_quoted_share",
    "rejected_by_hand": "filter.reviews",
    "near_duplicate": "filter.near_duplicates.least_jaccard",
}


def setting(reason: str, reader: str) -> str | None:
    """The setting that controls a reason, as a path in params.yaml; None if no setting does."""
    path = SETTINGS.get(reason)
    if reader == "stack_exchange" and reason == "low_response_score":
        path = "filter.READER.prefilter.min_response_score"
    return path and path.replace("READER", reader)


class Identified(Protocol):
    """A candidate, or what is left of it."""

    @property
    def id(self) -> str: ...


def dropped(candidate: Identified, reason: str, detail: str) -> Dropped:
    assert reason in REASONS, f"unknown reason: {reason}; add it to REASONS"
    return Dropped(reason=reason, detail=detail, place=candidate.id, raw="")


def out_of_bounds(candidate: Candidate, response: str, *, min_chars: int, max_chars: int) -> Dropped | None:
    """Rejects a response unless min_chars ≤ characters ≤ max_chars."""
    length = len(response)
    if length < min_chars:
        return dropped(candidate, "too_short", f"{length} characters, at least {min_chars}")
    if length > max_chars:
        return dropped(candidate, "too_long", f"{length} characters, at most {max_chars}")
    return None


def below(candidate: Candidate, reason: str, score: int | None, *, least: int) -> Dropped | None:
    """Rejects a score below `least`, and a missing score."""
    if score is None:
        return dropped(candidate, reason, f"no score, at least {least}")
    return dropped(candidate, reason, f"{score}, at least {least}") if score < least else None


def example(candidate: Candidate, prompt: str, response: str) -> Example:
    turns = (Turn(role="user", content=prompt), Turn(role="assistant", content=response))
    return Example(id=candidate.id, messages=turns, tags=candidate.tags, provenance=candidate.provenance)


def prompt(candidate: Candidate, text: str) -> Prompt:
    turns = (Turn(role="user", content=text),)
    return Prompt(
        id=candidate.id,
        messages=turns,
        tags=candidate.tags,
        provenance=candidate.provenance,
        constraints=candidate.constraints,
    )
