"""Off-topic parts of comments, and edits they need before they become an assistant's turns (LIMA §2, §6)."""

import re
from collections.abc import Sequence

from lima.curation import style
from lima.records import Turn

ADDRESS = re.compile(r"\bhttps?://\S+")
# the site, its conventions, and edits of the answer
META = re.compile(
    r"(?i)\b(?:up|down)-?\s?vot\w*|\baccept(?:ed|ing)?\b(?=[^.?!]{0,30}\b(?:answer|it|this|yours)\b)|"
    r"\b(?:edit(?:ed|ing)?|updat(?:e|ed|ing)|add(?:ed)?|clarif(?:y|ied))\b[^.?!]{0,30}\b(?:question|answer|post)\b|"
    r"\b(?:the|my|your|this|an?)\s+edits?\b|\bi(?:['’]ve|['’]ll|\s+have|\s+will)?\s+(?:just\s+)?"
    r"(?:add(?:ed)?|edit(?:ed)?|update[d]?|expand(?:ed)?)\b|(?:^|[.!?]\s+)(?:added|edited|updated|fixed|done)\b|"
    r"\b(?:(?:this|your|the)\s+comments?|(?:new|separate|different)\s+question|chat\s?room|this chat|in chat|duplicate|"
    r"off[ -]topic|moderators?|mods|flagged|welcome to|reputation)\b|(?:^|\s)[+-]1\b"
)
# a reply without content
EVASIVE = re.compile(
    r"(?i)\bi\s+(?:don['’]?t|do\s+not|wouldn['’]?t)\s+(?:really\s+)?know\b|\b(?:no|not\s+any)\s+(?:idea|clue)\b|"
    r"\bnot\s+off\s+the\s+top\b|\bi(?:['’]ll|\s+will)\s+(?:see|look|check|try|have\s+a\s+look)\b|"
    r"\bi(?:['’]m|\s+am)\s+not\s+(?:sure|an?\s+expert)\b|\bgood\s+(?:question|point)[.!]?\s*$|\bgoogle\b"
)


def off_topic(number: int, turn: Turn) -> str:
    """Description of the first off-topic part of a turn; "" if there is none."""
    if words := style.site_reference(turn.content):
        return f"refers to the site ({words})"
    if match := META.search(turn.content):
        return f"mentions the site ({match[0].strip()})"
    if turn.role == "assistant" and number > 2 and (match := EVASIVE.search(turn.content)):
        return f"may not answer ({match[0].strip()})"
    if number > 2 and (match := ADDRESS.search(turn.content)):
        return f"contains a URL ({match[0]})"
    return ""


def required_edits(turns: Sequence[Turn]) -> list[str]:
    """The edits that a person must make, each with the number of its turn."""
    edits = []
    for number, turn in enumerate(turns, start=1):
        if turn.role == "assistant" and (words := style.first_person(turn.content)):
            edits.append(f"turn {number}: first person ({words})")
        if words := off_topic(number, turn):
            edits.append(f"turn {number}: {words}")
        if words := style.dangling_reference(turn.content, links_known=False):
            edits.append(f"turn {number}: refers to a removed link or image ({words})")
    return edits
