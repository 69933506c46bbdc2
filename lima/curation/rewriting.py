"""Rewrite articles and posts in the style of one assistant (LIMA §2.1).

All functions are idempotent.
"""

import re
from collections.abc import Callable

from lima.text import prose

# suffixes that a saved page adds to an article's title
SITE_NAME = re.compile(
    r"\s*[-–|]\s*wikiHow\s*$|\s*\((?:with (?:pictures|videos?|examples)|\d+ steps)\)\s*$", re.IGNORECASE
)
COUNTED = re.compile(
    r"^(?:\d+\s+)?(?:(?:simple|easy|best|quick|good|great|fun|effective)\s+)*ways\s+to\s+", re.IGNORECASE
)
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
HEADING = re.compile(r"^#.*$", re.MULTILINE)  # all its words are capitalised
# words that do not begin a sentence, a step, a heading or a bold lead
MID_SENTENCE = re.compile(r"(?<=[a-z,;] )[^\W\d_]+(?:['’][^\W\d_]+)*")

OPENING = re.compile(r"\A\W*this\s+(?:wiki\s?how(?:\s+article)?|article)\b", re.IGNORECASE)
MENTION = re.compile(r"\bthis\s+(?:wiki\s?how(?:\s+article)?|article)\b", re.IGNORECASE)
CITATION = re.compile(r"[ \t]*\[\d+\]|[ \t]*\b[XΧ]\s+(?:Research|Expert|Trustworthy)\s+[Ss]ource\b[^\n.]*")
SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+[ \t]*)?")
ABOUT_THE_PAGE = re.compile(
    r"\b(?:article was co-?authored|has been viewed|thanks to all authors|article summary|references cited|"
    r"did this (?:summary|article) help you)\b",
    re.IGNORECASE,
)
ABOUT_THE_SITE = re.compile(r"\bwikihow\b", re.IGNORECASE)
TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")

# Writing prompt, simple prompt, established universe, constrained writing, reality fiction, theme Thursday
PREMISE = r"[\[(]\s*(?:WP|EU|SP|CW|RF|TT)\s*[\])]"
PREMISE_TAG = re.compile(rf"^\s*{PREMISE}\s*[:–-]?\s*|\s*{PREMISE}\s*$", re.IGNORECASE)
SERIOUS_TAG = re.compile(r"\s*[\[(]\s*serious\s*[\])]\s*", re.IGNORECASE)
EDIT = re.compile(r"\W*(?:edit|eta|update)\b[^\w\n]*\d*[^\n\w]*:", re.IGNORECASE)
ASIDE = re.compile(
    r"^\W*(?:note|author['’]?s note|a/n|tl;?dr)\s*:|(?<![\w/])/?[ru]/\w+|\bsubreddit\b|"
    r"^\W*(?:thanks|thank you)(?:\s+\w+){0,3}?\s+(?:for|to|all|everyone)\b.*"
    r"\b(?:gold|silver|award|prompt|reading|upvote|feedback)|"
    r"^\W*(?:constructive )?(?:feedback|critique|criticism)\b.*\bwelcome|^\W*if you (?:liked|enjoyed|like|enjoy)\b|"
    r"\bfirst (?:time|attempt|post)\b.*\b(?:posting|prompt|here)\b|"
    r"^\W*(?:sorry|apologies)\b.*\b(?:mobile|format|phone)",
    re.IGNORECASE,
)
RULE = re.compile(r"^[\W_]*$")
# links to the author's other works: a subreddit, a user, a URL; a bare domain only after such words
PROMOTION = re.compile(
    r"(?<![\w/])/?[ru]/\w{2,}|https?://|\bwww\.\w|"
    r"\b(?:more|read|find|check|visit|follow|subscribe|support|blog|stories|website|patreon|amazon|wattpad|kindle)\b"
    r".*\b[\w-]+\.(?:com|net|org|io|me|co|blog|page|ink)\b",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[.!?…][\"”'’*_)\]]*\s+|\n")


def article_title(title: str, *, body: str) -> str:
    """ "3 Ways to Cook an Omelette (with Pictures) - wikiHow" → "How to cook an omelette?"

    A word keeps its capital if the body capitalises it within a sentence (a name), or if it has an inner capital
    (YouTube).
    """
    name = _until_stable(lambda text: SITE_NAME.sub("", text.rstrip("? \t\n\r\f\v").rstrip()), title).strip()
    name = COUNTED.sub("How to ", name)
    if not name.lower().startswith("how "):
        name = f"How to {name}".strip()
    text = HEADING.sub("", body)
    names = set(MID_SENTENCE.findall(text)) - {word.capitalize() for word in WORD.findall(text) if word.islower()}
    return f"{WORD.sub(lambda match: _in_sentence(match, names), name)}?"


def article_body(markdown: str) -> str:
    """ "This wikiHow teaches you …" → "The following answer teaches you …"; removes sentences about the site."""
    return _until_stable(_article_body, markdown)


def _article_body(markdown: str) -> str:
    text = _without(ABOUT_THE_PAGE, CITATION.sub("", markdown))
    text = OPENING.sub("The following answer", text)
    text = MENTION.sub(lambda match: "This answer" if match[0][0] == "T" else "this answer", text)
    return prose.trimmed(BLANK_LINES.sub("\n\n", TRAILING.sub("", _without(ABOUT_THE_SITE, text))))


def _without(subject: re.Pattern[str], text: str) -> str:
    """The text without the sentences about a subject."""
    return SENTENCE.sub(lambda match: "" if subject.search(match[0]) else match[0], text)


def premise(title: str) -> str:
    """ "[WP] You are a ghost." → "You are a ghost." """
    return _until_stable(lambda text: PREMISE_TAG.sub("", text).strip(), title)


def question(title: str) -> str:
    """ "[Serious] What …?" → "What …?" """
    return _until_stable(lambda text: SERIOUS_TAG.sub(" ", text).strip(), title)


def story(reply: str) -> str:
    """The reply without the author's notes to the forum before and after the story.

    Notes are paragraphs (edits, thanks, requests for feedback) and, at the end, sentences with a link to other works.
    """
    parts = [prose.trimmed(part) for part in re.split(r"\n\s*\n", reply) if part.strip() and not EDIT.match(part)]
    while parts:
        last = _without_promotion(parts.pop())
        if not (RULE.match(last) or ASIDE.search(last)):
            parts.append(last)
            break
    while parts and (RULE.match(parts[0]) or ASIDE.search(parts[0])):
        parts.pop(0)
    return "\n\n".join(parts)


def _without_promotion(paragraph: str) -> str:
    while PROMOTION.search(paragraph, start := _last_sentence(paragraph)):
        paragraph = paragraph[:start].rstrip()
    return paragraph


def _last_sentence(paragraph: str) -> int:
    """Start of the last sentence or line."""
    return max((end.end() for end in SENTENCE_END.finditer(paragraph) if end.end() < len(paragraph)), default=0)


def _in_sentence(match: re.Match[str], names: set[str]) -> str:
    word = match[0]
    is_name = word in names or any(letter.isupper() for letter in word[1:])
    return word if match.start() == 0 or word[:2] in ("I", "I'", "I’") or is_name else word.lower()


def _until_stable(step: Callable[[str], str], text: str) -> str:
    """Apply `step` until the text no longer changes."""
    while (changed := step(text)) != text:
        text = changed
    return text
