"""What can become of a candidate, and every reason why one is dropped (LIMA §2)."""

from lima.records import Candidate, Dropped, Example, Prompt, Turn

Outcome = Example | Prompt | Dropped

# In the order in which the filters ask, so that a funnel reads from the top. The detail of a Dropped carries what is
# named in brackets.
REASONS = {
    # which candidates are looked at
    "other_subreddit": "from a subreddit that is neither for training nor for prompts [subreddit]",
    "other_language": "a task or text that is not in English [the task's tags, or what was found, how surely]",
    "other_category": "a task of a category that is not language generation [its categories]",
    "few_distinct_outputs": "a task whose outputs repeat: it classifies and does not write [share of distinct outputs]",
    "short_outputs": "a task whose outputs are labels or names [median words]",
    # whether there is anything to learn from
    "empty_text": "a turn without text, or a prompt without text [which]",
    "turns_do_not_alternate": "a dialogue in which one side speaks twice [the roles]",
    "no_answer": "no response",
    "removed": "a response or prompt that its author or a moderator took away [its text]",
    "moderator": "a notice of a moderator or bot, or a post about the community [the words]",
    "not_a_premise": "a tag that does not ask for a story, or asks for one about an image [the tag]",
    "has_body": "a question that goes on in a body, while only its title is asked [characters]",
    "low_score": "a submission with too few votes [votes]",
    "low_response_score": "a response with too few votes [votes]",
    "response_equals_input": "an output that repeats its input [its words]",
    "unpolished": "an output not written for a reader, or a task of which too many were not [what shows it, the share]",
    "unrelated": "an output about something else than its input, or a task with too many such [its words, the share]",
    "prompt_too_long": "a prompt that is too long [characters]",
    "too_short": "a response below min_chars of Markdown [characters]",
    "too_long": "a response above max_chars of Markdown [characters]",
    # whether it is written as an assistant would
    "mostly_quoted": "a response that is mostly somebody else's words [share of block quotations]",
    "first_person": "a response in the first person [the words]",
    "refers_to_site": "a text that refers to other answers, comments, users or the site [the words]",
    "refers_to_missing": "a response that points at a link or an image, which were cut [the words]",
    "incomplete": "a story that goes on elsewhere [the words]",
    "title_not_self_contained": "a title that cannot be understood alone [what it lacks]",
    "not_a_question": "a title that asks nothing, where no other prompt is left [the title]",
    "answers_body": "a response to the body of a question of which only the title can be the prompt [the words]",
    # whether it may be shown, and was not shown already
    "secret": "a text with a private key [the kind]",
    "near_duplicate": "almost the text of one that has more votes, or says more [that one's id, Jaccard index]",
}

# The setting of params.yaml that decides how many a reason drops; READER stands for the source's reader.
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
    "near_duplicate": "filter.near_duplicates.least_jaccard",
}


def setting(reason: str, reader: str) -> str | None:
    """The setting that loosens a reason, as a path in params.yaml; None where there is none to loosen."""
    path = SETTINGS.get(reason)
    if reader == "stack_exchange" and reason == "low_response_score":
        path = "filter.READER.prefilter.min_response_score"
    return path and path.replace("READER", reader)


def dropped(candidate: Candidate, reason: str, detail: str) -> Dropped:
    assert reason in REASONS, f"no such reason: {reason}"
    return Dropped(reason=reason, detail=detail, place=candidate.id, raw="")


def out_of_bounds(candidate: Candidate, response: str, *, min_chars: int, max_chars: int) -> Dropped | None:
    """Both bounds belong to what is kept: min_chars ≤ characters ≤ max_chars."""
    length = len(response)
    if length < min_chars:
        return dropped(candidate, "too_short", f"{length} characters, at least {min_chars}")
    if length > max_chars:
        return dropped(candidate, "too_long", f"{length} characters, at most {max_chars}")
    return None


def below(candidate: Candidate, reason: str, score: int | None, *, least: int) -> Dropped | None:
    """A score that the dump does not tell is not enough."""
    if score is None:
        return dropped(candidate, reason, f"no score, at least {least}")
    return dropped(candidate, reason, f"{score}, at least {least}") if score < least else None


def example(candidate: Candidate, prompt: str, response: str) -> Example:
    turns = (Turn(role="user", content=prompt), Turn(role="assistant", content=response))
    return Example(id=candidate.id, messages=turns, tags=candidate.tags, provenance=candidate.provenance)


def prompt(candidate: Candidate, text: str) -> Prompt:
    turns = (Turn(role="user", content=text),)
    return Prompt(id=candidate.id, messages=turns, tags=candidate.tags, provenance=candidate.provenance)
