"""Whether a title can be understood without its body (LIMA §2.1: "self-contained in the title").

Rules of ours, since the paper gives none. A title fails when it points at something it does not name: a demonstrative
("this error"), a pronoun without an antecedent ("Why doesn't it work?"), the asker's own work ("my code"), a part of
the body ("the following"), a choice it does not list ("Which one is better?"); when it is a fragment of fewer than
three words; or when the site has marked it. Where the title is the prompt, it must also ask something, and the response
must answer it and not a passage of the body.
"""

import re

from lima.text import prose

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
        ("demonstrative", rf"\bthis\b(?!\s+(?:{TIME}\b|\w+\s+of\s+\w+ing\b))|\bthese\b(?!\s+days\b)"),
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
    r"(?:exist|rain|snow|dark|cold|hot|warm|late|early|safe|legal|ok|okay|common|normal)\w*\b|^it\s+an?\s+.*\bnot\s+an?\b",
    re.IGNORECASE,
)
# "How do they get beer so strong?": "they" are those who do so
IMPERSONAL = re.compile(
    r"^they\s+(?:get|make|call|put|add|build|judge|measure|sell|produce|decide|name|choose|teach|use)\s+(?!it\b|them\b|this\b)\w+",
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


# "What causes rust", "Men, what do you cook", "How to boil an egg": a question mark is not needed
INTERROGATIVE = (
    r"(?:how|what|why|when|where|who|which|whose|whom|can|could|should|would|will|is|are|was|were|do|does|did|has|have|may|"
    r"must|am|shall|isn['’]?t|aren['’]?t|don['’]?t|doesn['’]?t|didn['’]?t|can['’]?t|won['’]?t|shouldn['’]?t|couldn['’]?t|wouldn['’]?t)"
)
ASKS = re.compile(
    rf"\?|¿|(?:^|[,:;.!–—-]\s+)\W*(?:(?:and|so|but|men|women|people|guys)\s+)?{INTERROGATIVE}(?:['’]s|['’]re)?\b|"
    r"^\W*(?:please\s+)?(?:explain|describe|recommend|suggest|compare|list|help|show|prove|write|give|tell|define|find)\b",
    re.IGNORECASE,
)
YOU_SAID = re.compile(
    r"\bas\s+you\s+(?:\w+\s+)?(?:list|point\s+out|say|said|note|write|suggest|ask)\b|"
    r"\b(?:example|case|method|code|one|ones)\s+(?:that\s+)?you\s+(?:list|give|ask|show|link|use)\b|"
    r"\byou(?:['’](?:re|ve|d)|\s+(?:are|have|were|had))?\s+(?:also\s+|already\s+|really\s+)?(?:mention|describ|propos|cit|quot|refer|"
    r"wonder|question)\w*\b|"
    r"\byou(?:['’]ve|\s+have)?\s+(?:also\s+|already\s+)?(?:listed|pointed\s+out|posted|gave|given|provided|showed|shown|wrote|"
    r"written|stated|asked|linked|included|suggested|said)\b|"
    r"\byou(?:['’]re|\s+are)\s+(?:\w+\s+)?(?:right|correct|wrong|mistaken|asking|suggesting)\b(?!\s+(?:about|if|to|when|that|for)\b)|"
    r"\byou\s+hit\s+the\s+nail\b|"
    r"\byour\s+(?:\w+\s+)?(?:question|example|snippet|post|quote|edit)s?\b|"
    r"\byour\s+(?:first|second|third|last|initial|original|particular|specific|final)\s+\w+|"
    r"\b(?:in|of|outside)\s+th(?:e|is)\s+question\b|\bthe\s+question\s+(?:states|asks|says|mentions|implies|is\s+asking)\b",
    re.IGNORECASE,
)
YOURS = re.compile(r"\byour\s+((?:[\w-]+\s+)?)([\w-]{4,})", re.IGNORECASE)
LEAST_QUOTED = 4  # words; fewer may be alike by chance


def asks(title: str) -> bool:
    return bool(ASKS.search(title))


def answers_body(title: str, body: str, response: str) -> str | None:
    """What of a response, in Markdown, answers the body and not the title alone.

    A sentence of the body that it quotes, or "as you mentioned".
    """
    asked, told = _words(title), _words(body)
    plain, titled = f" {' '.join(told)} ", f" {' '.join(asked)} "
    for quote in prose.quotations(response):
        words = _words(quote)
        run = f" {' '.join(words)} "
        if len(words) >= LEAST_QUOTED and run in plain and run not in titled:
            return " ".join(quote.split())
    found = YOU_SAID.search(prose.own_words(response))
    return found[0] if found else None


def may_answer_body(title: str, body: str, response: str) -> bool:
    """Whether a response speaks of what the asker has ("your flour") and only the body tells of."""
    said, plain = prose.own_words(response), f" {' '.join(_words(body))} "
    only_body = set(_words(body)) - set(_words(title))
    for found in YOURS.finditer(said):
        first, second = found[1].strip().lower(), found[2].lower()
        if second in only_body and (first in only_body or f" my {second} " in plain):
            return True
    return False


def _words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def lacks(title: str) -> str | None:
    """What the title needs and does not have, with the words that show it; None if it stands alone."""
    if marked := MARKED.search(title):
        return f"marked {marked[0].strip()}"
    if FRAGMENT.match(title):
        return f"a fragment: {title!r}"
    # a quoted word is a name: 'What does "this" mean in Java?'; a quoted sentence stays one
    named = QUOTED.sub(lambda quote: " x. " if quote[0].rstrip("\"'”’»`")[-1:] in ".!?" else " x ", title)
    for pattern, kind in POINTERS:
        found = pattern.search(named)
        if found and not _named_before(kind, found, named):
            return f"{kind}: {found[0]!r}"
    for found in PRONOUN.finditer(named):
        if IMPERSONAL.match(named[found.start() :]):
            continue
        before = [word.lower() for word in WORD.findall(named[: found.start()])]
        if all(word in EMPTY for word in before) and not EXPLETIVE.match(named[found.start() :]):
            return f"a pronoun without antecedent: {found[0]!r}"
    return None


def _named_before(kind: str, pointer: re.Match[str], title: str) -> bool:
    """Whether what the pointer stands for comes before it: "Is beer stale after a year? How to tell this?" """
    before = title[: pointer.start()].lower()
    if kind == "demonstrative":
        thing = pointer[0].lower().removeprefix("that ")
        return bool(SENTENCE_END.search(before)) or (thing != pointer[0].lower() and f"{thing}" in before)
    choice = pointer[0].lower().startswith(("which one", "what one"))
    return choice and bool(SENTENCE_END.search(before) or re.search(r"\bwhich\s+(?!ones?\b)\w+", before))
