"""Style filters for community answers: first person, and what lies outside of the answer (LIMA §2.1).

Each answers with the words it found, or None. In doubt an answer goes: dumps are large, and one answer that says "as
Bob wrote above" teaches a model to say so.
"""

import re

from lima.curation import prose

# Contractions begin with the same word: "I'm". Capitals count: "ME" is no pronoun. The singular only, as in the paper's
# examples: of the 400 Stack Exchange answers that its authors released, 75 say "we" (as a proof does) and 1 says "my".
PRONOUNS = r"I|[Mm]e|[Mm]y|MY|[Mm]ine|[Mm]yself"
# "i think", written in haste; "i" as a variable has no such verb after it
HASTY = r"i['’](?:m|ve|d|ll)\b|i\s+(?:am|was|have|had|think|believe|would|will|can|could|do|don|did|know|use|guess)\b"
# "we" may be a teacher's; what is the author's own is not
OWN = (
    r"[Oo]ur\s+(?:own\s+)?(?:store|shop|company|restaurant|bar|pub|team|lab|office|house|home|kitchen|family|kids?|sons?|"
    r"daughters?|children|customers|clients|employer|school|department|university|project|product)"
)
NUMBERED = (
    r"Types?|Class|Phase|Part|Volume|Vol\.|Book|Chapter|Section|Act|War|Level|Grade|Category|Stage|Schedule|Article|"
    r"Appendix|Mark|Group|Division|Table|Figure|Theorem|Calculus|Physics|Region|Vitamin|Elizabeth|James|Charles|"
    r"Francis|Henry|Napoleon|Nicholas|Peter|Leopold|Wilhelm|William|George|Edward|Richard|Alexander|Catherine|"
    r"Ferdinand|Frederick|Louis|Mary|Otto|Paul|Philip"
)
OTHER_WORDS = "|".join(
    (
        rf"\b(?:{NUMBERED})[ \-\u00a0]I\b(?!['’])|\btype[ -]I(?= error)",  # a number: World War I, Elizabeth I
        r"\bI\s?[/=_^|<>+×]|[/=_^|<>+%&\\]\s?I\b|\bI-\d",  # a letter: I/O, I = V/R, Ctrl+I, %I, R&I, I-95
        r"\(I\)|^[ \t]*I[.)](?=\s)|\b[A-Z]\. I\. (?=[A-Z])",  # of a list: (I), "I." at a line's head; J. I. Packer
        r"\b(?:an?|the|this|that|each|every|coal|gold|silver|salt|copper|iron|diamond|land|data)\s+mine\b",
    )
)
# Other words are tried first at each place, and what they match is passed over.
PRONOUN = re.compile(rf"{OTHER_WORDS}|(?P<author>\b(?:{PRONOUNS}|{HASTY}|{OWN})\b)", re.MULTILINE)

REFERENCES = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"(?i)\bas\s+(?:\S+\s+){0,2}?mentioned\b",
        r"(?i)\b(?:as|like)\s+(?:\S+\s+){1,3}?(?:said|says|noted|notes|pointed\s+out|points\s+out|suggested|commented)\b",
        r"(?i)\bas\s+(?:already\s+)?(?:said|noted|pointed\s+out|stated|suggested)\b",
        r"(?i)\bstack\s*exchange\b|\b(?:stackoverflow|math\s?overflow|mathoverflow|ask\s?ubuntu|serverfault)\b",
        r"\b(?:Stack\s?[Oo]verflow)\b",  # in small letters, with a space, it is what happens to a recursion
        r"(?i)\b(?:other|another|previous|accepted|earlier|existing|top|best|above|current|excellent|great)\s+"
        r"(?:answers?|answerers?|responders?|posters?|repl(?:y|ies))\b",
        r"(?i)\b\w+['’]s?\s+answers?\b(?<!that's answer)",
        r"(?i)\banswers?\s+(?:above|below|here|already\s+given|(?:given|posted|provided)\s+(?:by|here|above))\b",
        r"(?i)\b(?:this|these|the|your|my)\s+(?:above|below|following\s+)?comments?\b|\bcomments?\s+(?:above|below)\b",
        r"(?i)\b(?:in|from|per|see)\s+(?:a\s+|other\s+)?comments?\b|\bcommenters?\b",
        r"(?:^|[\s(])@[A-Za-z]\w+",
        r"\bOP\b(?![- ]?amp)|\bO\.P\.|(?i:\boriginal\s+(?:poster|post|question)\b|\bthe\s+asker\b)",
        r"(?i)\b(?:this|your|the|previous|linked|related|duplicate|similar)\s+(?:post|thread)\b",
        r"(?i)\b(?:linked|related|duplicate|other|previous)\s+questions?\b|\b(?:duplicate|repeat)\s+of\b",
        r"(?i)\banother\s+question\b(?!\s+(?:entirely|altogether|of|is)\b)|\bthere\s+(?:are|is)\s+already\b[^.\n]{0,30}\bquestions?\b",
        r"(?i)\b(?:question|title)\s+(?:of|in|from)\s+(?:the|your)\s+(?:title|question)\b|\b\w+\.SE\b",
        r"(?i)\bthis\s+(?:site|forum|community|stack|se)\b|\bmeta\s+(?:post|site)\b",
        r"(?i)^\W*(?:edit|update|addendum|edited)\b\s*(?:#?\d+|\([^)\n]*\)|(?:to|after|based|from)\s[^\n:.]{0,40})?\W{0,3}:",
        r"(?i)\b(?:up|down)-?\s?vot(?:e|es|ed|ing|er|ers)\b",
    )
)

PICTURE = r"(?:pictures?|images?|photos?|screen\s?shots?|diagrams?|figures?|illustrations?|videos?)"
MISSING = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b{PICTURE}\s+(?:above|below|here|shows?|to\s+the\s+(?:left|right))\b",
        rf"\b(?:see|following|above|below|attached|linked|this|these)\s+(?:the\s+|this\s+)?{PICTURE}\b",
        r"\b(?:this|these|the|following|above)\s+links?\b|\blinks?\s+(?:above|below|here)\b",
        r"\b(?:see|look|click|found|available|explained|described|discussed|read|shown|listed|more)\s+here\b",
        r"\bsee\s+(?:this|these)\b|\b(?:can|could|may)\s+(?:find|read|see|get)\b[^.\n]{0,40}\bhere\b",
        r"\bhere(?:'s|’s|\s+is|\s+are)\s+(?:a|an|the|some)\s+(?:\w+\s+)?(?:links?|articles?|videos?|pictures?|images?)\b",
        r"\bthis\s+(?:wikipedia\s+)?(?:article|page|website|blog|paper|pdf)\b",
        r"\b(?:article|link|page)\s+(?:referenced|linked|below|above)\b",
        rf"[(\[]\s*{PICTURE}\s*(?:source|credits?|by|from|via|:)",
        # "For more details, see the Yeast Guide.": the words of a link
        r"\bfor\s+(?:more|further|additional)\s+(?:details?|information|info|images|reading|examples)\b[^.\n]{0,60}?"
        r"\b(?:see|check|visit|read|refer|look|consult)\b",
        r"\b(?:summary|article|guide|details|information|discussion|explanation|overview|tutorial)\b[^.\n]{0,30}"
        r"\bcan\s+be\s+(?:seen|found|read)\b",
    )
)
# a line that only announces what was linked
HANGING = re.compile(r"^\W*(?:see(?:\s+also)?|more\s+information)\W*$", re.IGNORECASE | re.MULTILINE)
UNFINISHED = re.compile(r"\S*[:;]\s*\Z")  # what it announces was an image or a link, or it is cut off


def first_person(markdown: str) -> str | None:
    """The first word that speaks of the author, with its surroundings."""
    text = prose.said(markdown)
    return next((_shown(text, found) for found in PRONOUN.finditer(text) if found["author"]), None)


def reference(markdown: str) -> str | None:
    """The first mention of other answers, comments, users or the site."""
    return _first(REFERENCES, prose.said(markdown))


def missing(markdown: str) -> str | None:
    """The first pointer to a link or an image, neither of which the Markdown has any more."""
    found = _first((*MISSING, HANGING), prose.said(markdown))
    cut = UNFINISHED.search(markdown[-200:])
    return found or (_shown(markdown[-200:], cut) if cut else None)


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> str | None:
    found = [match for pattern in patterns if (match := pattern.search(text))]
    return _shown(text, min(found, key=lambda match: match.start())) if found else None


def _shown(text: str, found: re.Match[str]) -> str:
    """What was found, between up to 20 characters of whole words on either side."""
    before, after = text[max(0, found.start() - 21) : found.start()], text[found.end() : found.end() + 21]
    if len(before) == 21:
        before = before.partition(" ")[2]
    if len(after) == 21:
        after = after.rpartition(" ")[0]
    return " ".join(f"{before}{found[0]}{after}".split())
