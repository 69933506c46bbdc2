"""Stories for training from one kind of forum, questions to ask from another (LIMA §2.1).

Upvotes reward wit more than help, so only chosen subreddits are read: those whose replies are good continuations
(r/WritingPrompts) give examples, those whose answers are not reliable (r/AskReddit) give prompts only, titles without
a body.
"""

import re
from collections.abc import Callable

from lima.config.sections import RedditFilter
from lima.curation import decisions, rewriting, style, titles
from lima.curation.decisions import Outcome
from lima.records import Candidate, Dropped

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


def decide(candidate: Candidate, *, p: RedditFilter, to_markdown: Callable[[Candidate, str], str]) -> Outcome:
    subreddit = candidate.provenance.site
    if _names(p.prefilter.train_subreddits, subreddit):
        return continued_premise(candidate, to_markdown(candidate, candidate.response), p=p)
    if _names(p.prefilter.prompt_subreddits, subreddit):
        return asked(candidate, p=p)
    return decisions.dropped(candidate, "other_subreddit", subreddit)


def _names(subreddits: list[str], name: str) -> bool:
    """Whether a subreddit is one of those. Reddit's names mean the same in any case."""
    return name.casefold() in {subreddit.casefold() for subreddit in subreddits}


def continued_premise(candidate: Candidate, reply: str, *, p: RedditFilter) -> Outcome:
    """The title is the premise, the top reply its continuation; a story may be in the first person."""
    if not reply.strip():
        return decisions.dropped(candidate, "no_answer", "no reply")
    premise, story = rewriting.premise(candidate.title), rewriting.story(reply)
    bad = (
        official(candidate, reply)
        or decisions.below(candidate, "low_score", candidate.score, least=p.min_score)
        or decisions.below(candidate, "low_response_score", candidate.response_score, least=p.min_response_score)
        or decisions.out_of_bounds(candidate, story, min_chars=p.min_chars, max_chars=p.max_chars)
    )
    if bad:
        return bad
    # in what `story` left out too: "Part 2 is on r/mine"
    if cut := INCOMPLETE.search(story) or INCOMPLETE.search(reply):
        return decisions.dropped(candidate, "incomplete", cut[0].strip())
    return decisions.example(candidate, premise, story)


def asked(candidate: Candidate, *, p: RedditFilter) -> Outcome:
    """The title alone is the prompt, so it must be all there is, and a question."""
    title = rewriting.question(candidate.title)
    if bad := official(candidate, "") or decisions.below(candidate, "low_score", candidate.score, least=p.min_score):
        return bad
    for reason, found in (
        ("has_body", f"{len(candidate.description)} characters" if candidate.description.strip() else None),
        ("not_a_question", None if titles.asks(title) else title),
        ("refers_to_site", style.reference(title) or site_named(title)),
        ("title_not_self_contained", titles.lacks(title)),
    ):
        if found:
            return decisions.dropped(candidate, reason, found)
    return decisions.prompt(candidate, title)


def official(candidate: Candidate, reply: str) -> Dropped | None:
    """What an author took away, or a moderator or bot put there."""
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


def site_named(title: str) -> str | None:
    found = re.search(r"\b(?:redditors?|reddit|subreddits?|karma|ama)\b|\b[ru]/\w+|\bnsfw\b", title, re.IGNORECASE)
    return found[0] if found else None
