"""Rules for Reddit: stories for training, questions as test prompts (LIMA §2.1).

Upvotes reward humour more than help, so only selected subreddits are used. r/WritingPrompts, with good continuations,
gives training examples. r/AskReddit, with unreliable answers, gives prompts only: titles without a body.
"""

import re
from collections.abc import Iterable

from lima.config.sections import Filter, RedditFilter
from lima.curation import decisions, rewriting, style, titles
from lima.curation.conversations import unfiltered
from lima.curation.decisions import Convert, Outcome, Outcomes
from lima.records import Candidate, Dropped

__all__ = ["outcomes", "unfiltered"]

REMOVED = re.compile(r"^\s*\[\s*(?:deleted|removed|unavailable|deleted by user|removed by \w+)\s*\]\s*$", re.IGNORECASE)
MODERATOR = re.compile(
    r"i am a bot|this action was performed automatically|off[- ]topic discussion|top-level comments must|"
    r"^\W*(?:modpost|mod post|meta|ot|off[- ]topic|announcement|megathread|contest|satchat|sunday free write)\b",
    re.IGNORECASE,
)
TAG = re.compile(r"^\s*[\[(]\s*[A-Z]{2,8}\s*[\])]")
ELSEWHERE = r"(?:comments?|repl(?:y|ies))"
INCOMPLETE = re.compile(
    r"\bto be continued\b|\bcontinued (?:in|below|here)\b|\(?\bcont(?:inued|['’]?d|\.)?\)?\s*$|"
    rf"\bpart (?:\d+|two|three|i{{2,3}})\b.*(?:\b(?:below|here|soon|tomorrow|{ELSEWHERE})\b|https?://|(?<![\w/])/?[ru]/\w)|"
    rf"\b(?:rest|more|continuation|next part|second half|conclusion)\b[^.\n]{{0,30}}\bin (?:the |a |my )?{ELSEWHERE}\b|"
    r"\(\s*(?:part\s+)?1\s*(?:/|of)\s*\d\s*\)|^\W*part (?:1|one|i)\b",
    re.IGNORECASE,
)


def outcomes(
    candidates: Iterable[Candidate], *, settings: Filter, to_markdown: Convert, to_marked: Convert
) -> Outcomes:
    for candidate in candidates:
        yield candidate, decide(candidate, settings=settings.reddit, to_markdown=to_markdown)


def decide(candidate: Candidate, *, settings: RedditFilter, to_markdown: Convert) -> Outcome:
    subreddit = candidate.provenance.site
    if _contains(settings.prefilter.train_subreddits, subreddit):
        return story_example(candidate, to_markdown(candidate, candidate.response), settings=settings)
    if _contains(settings.prefilter.prompt_subreddits, subreddit):
        return question_prompt(candidate, settings=settings)
    return decisions.dropped(candidate, "other_subreddit", subreddit)


def _contains(subreddits: list[str], name: str) -> bool:
    """Whether the list contains the name; names of subreddits are case-insensitive."""
    return name.casefold() in {subreddit.casefold() for subreddit in subreddits}


def story_example(candidate: Candidate, reply: str, *, settings: RedditFilter) -> Outcome:
    """The title is the premise, the top reply the story, which may be in the first person."""
    if not reply.strip():
        return decisions.dropped(candidate, "no_answer", "no reply")
    premise, story = rewriting.premise(candidate.title), rewriting.story(reply)
    fault = (
        unusable_post(candidate, reply)
        or decisions.below(candidate, "low_score", candidate.score, least=settings.min_score)
        or decisions.below(candidate, "low_response_score", candidate.response_score, least=settings.min_response_score)
        or decisions.out_of_bounds(candidate, story, min_chars=settings.min_chars, max_chars=settings.max_chars)
    )
    if fault:
        return fault
    # also in the parts that `rewriting.story` removes: "Part 2 is on r/mine"
    if match := INCOMPLETE.search(story) or INCOMPLETE.search(reply):
        return decisions.dropped(candidate, "incomplete", match[0].strip())
    return decisions.example(candidate, premise, story)


def question_prompt(candidate: Candidate, *, settings: RedditFilter) -> Outcome:
    """The title alone is the prompt, so it must be a self-contained question without a body."""
    title = rewriting.question(candidate.title)
    fault = unusable_post(candidate, "")
    fault = fault or decisions.below(candidate, "low_score", candidate.score, least=settings.min_score)
    if fault:
        return fault
    for reason, detail in (
        ("has_body", f"{len(candidate.description)} characters" if candidate.description.strip() else None),
        ("not_a_question", None if titles.is_question(title) else title),
        ("refers_to_site", style.site_reference(title) or names_reddit(title)),
        ("title_not_self_contained", titles.missing_context(title)),
    ):
        if detail:
            return decisions.dropped(candidate, reason, detail)
    return decisions.prompt(candidate, title)


def unusable_post(candidate: Candidate, reply: str) -> Dropped | None:
    """Rejects posts without a title, removed posts, notices of moderators or bots, and titles with another tag."""
    if not rewriting.premise(candidate.title):
        return decisions.dropped(candidate, "empty_text", "title")
    for text in (candidate.title, candidate.description, reply):
        if REMOVED.match(text):
            return decisions.dropped(candidate, "removed", text.strip())
        if notice := MODERATOR.search(text):
            return decisions.dropped(candidate, "moderator", notice[0].strip())
    if other := TAG.match(rewriting.premise(rewriting.question(candidate.title))):
        return decisions.dropped(candidate, "not_a_premise", other[0].strip())
    return None


def names_reddit(title: str) -> str | None:
    match = re.search(r"\b(?:redditors?|reddit|subreddits?|karma|ama)\b|\b[ru]/\w+|\bnsfw\b", title, re.IGNORECASE)
    return match[0] if match else None
