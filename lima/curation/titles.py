"""Whether a title can be understood without its body (LIMA §2.1: "self-contained in the title").

Rules of ours, since the paper gives none. A title fails when it points at something it does not name: a demonstrative
("this error"), a pronoun without an antecedent ("Why doesn't it work?"), the asker's own work ("my code"), a part of
the body ("the following"), a choice it does not list ("Which one is better?"); when it is a fragment of fewer than
three words; or when the site has marked it.
"""

import re

MARKED = re.compile(r"[\[(](?:closed|on hold|duplicate|migrated|solved|locked|deleted)[\])]\s*$", re.IGNORECASE)
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
FRAGMENT = re.compile(rf"^\W*(?:{WORD.pattern}\W*){{0,2}}$")
QUOTED = re.compile(r'"[^"]*"|“[^”]*”|«[^»]*»|`[^`]*`|(?<!\w)[\'‘][^\'’]+[\'’](?!\w)')

TIME = r"(?:year|month|week|day|century|decade|season|summer|winter|time|way)s?"
SENTENCE_END = re.compile(r"[.?!]\s")  # what a sentence before it names, "this" may stand for
WORK = (
    r"(?:code|program|query|script|function|app|application|solution|proof|answer|approach|attempt|regex|class|file|"
    r"error|loop|output|method|algorithm|implementation|design|example|problem|issue|question|case|situation|result|"
    r"calculation|reasoning|understanding|interpretation|argument|sentence|paragraph|setup|project|idea|plan)s?"
)
POINTERS = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for kind, pattern in (
        ("demonstrative", rf"\bthis\b(?!\s+{TIME}\b)|\bthese\b(?!\s+days\b)"),
        ("demonstrative", r"\bthose\b(?!\s+(?:who|that|which|with|of|in)\b)|\bthat\s+(?:one|thing)\b(?!\s+\w)"),
        ("demonstrative", r"\b(?:is|was|does|do|did|about|like|of|call)\s+that\s*\?|^(?:is|was|does|did)\s+that\b"),
        ("the asker's own work", rf"\b(?:my|our)\s+(?:\w+\s+)?{WORK}\b"),
        (
            "part of the body",
            r"\bthe\s+(?:following|above|below|attached|given)\b|\bas\s+follows\b|\bshown\s+(?:here|below)",
        ),
        ("part of the body", r"\bsee\s+(?:below|inside|body|description)\b"),
        ("part of the body", r"\b(?:in|from|on)\s+the\s+(?:picture|photo|image|screenshot|link)\b"),
        (
            "a choice not listed",
            r"\b(?:which|what)\s+ones?\b(?!\s+of\b)(?!.*\bor\b)|\b(?:either|both|neither)\s+of\s+them\b",
        ),
        ("a choice not listed", r"\bwhich\s+(?:is|are)\s+(?:better|best|right|correct)\s*\?"),
        ("a choice not listed", r"^what(?:['’]s|\s+is)\s+the\s+difference\s*\?"),
        (
            "an earlier question",
            r"^(?:another|again|also|and|but|so)\b|\bfollow[- ]?up\b|\bpart\s+(?:\d+|ii+|two|three)\b",
        ),
    )
)

PRONOUN = re.compile(r"\b(?:it|its|it['’]s|they|them|their|he|him|she|her)\b", re.IGNORECASE)
# "Is it safe to …", "How long does it take to …", "Why is it that …": "it" stands for what follows
EXPLETIVE = re.compile(
    r"^(?:it|it['’]s)\b(?:\W+\w+){0,6}?\W+(?:to|that|for|if|when|before|whether|why|how|\w+ing)\b|^it(?:['’]s|\s+is|\s+was)?\s+"
    r"(?:rain|snow|dark|cold|hot|warm|late|early|safe|legal|ok|okay|common|normal)\w*\b",
    re.IGNORECASE,
)
# Words that are no antecedent; what comes before a pronoun and is none of these may be what it stands for.
EMPTY = frozenset(
    WORD.findall(
        """
    a an the is are was were be been am do does did can cannot could should would will may might must has have had
    don't doesn't didn't isn't aren't wasn't weren't can't couldn't shouldn't wouldn't won't hasn't haven't
    how what when where which who whom whose why what's how's why's if and or but so not no in on at of for to from by
    with as than then there here i you we my your our me us much many long often far old soon well exactly really ever
    even just some any make makes use used mean means work works get call called know need want possible
    """
    )
)


def lacks(title: str) -> str | None:
    """What the title needs and does not have, with the words that show it; None if it stands alone."""
    if marked := MARKED.search(title):
        return f"marked {marked[0].strip()}"
    if FRAGMENT.match(title):
        return f"a fragment: {title!r}"
    named = QUOTED.sub(" x ", title)  # a quoted word is a name: 'What does "this" mean in Java?'
    for pattern, kind in POINTERS:
        found = pattern.search(named)
        if found and not (kind == "demonstrative" and SENTENCE_END.search(named[: found.start()])):
            return f"{kind}: {found[0]!r}"
    for found in PRONOUN.finditer(named):
        before = [word.lower() for word in WORD.findall(named[: found.start()])]
        if all(word in EMPTY for word in before) and not EXPLETIVE.match(named[found.start() :]):
            return f"a pronoun without antecedent: {found[0]!r}"
    return None
