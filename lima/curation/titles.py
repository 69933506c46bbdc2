"""Rules for self-contained titles (LIMA §2.1: "self-contained in the title"). The paper does not give the rules.

A title is not self-contained if it refers to something unnamed: a demonstrative ("this error"), a pronoun without an
antecedent ("Why doesn't it work?"), the asker's own work ("my code"), a part of the body ("the following"), a choice
that it does not list ("Which one is better?"). Fragments of fewer than three words and titles marked by the site
("[closed]") are rejected too. A title used as the prompt must also be a question, and the response must answer the
title and not a passage of the body.
"""

import re

from lima.text import prose

MARKED = re.compile(r"[\[(](?:closed|on hold|duplicate|migrated|solved|locked|deleted)[\])]\s*$", re.IGNORECASE)
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
FRAGMENT = re.compile(rf"^\W*(?:{WORD.pattern}\W*){{0,2}}$")
QUOTED = re.compile(r'"[^"]*"|“[^”]*”|«[^»]*»|`[^`]*`|(?<!\w)[\'‘][^\'’]+[\'’](?!\w)')

TIME = r"(?:year|month|week|day|century|decade|season|summer|winter|time|way)s?"
WORK = (
    r"(?:code|program|query|script|function|app|application|solution|proof|answer|approach|attempt|regex|class|file|"
    r"error|loop|output|method|algorithm|implementation|design|example|problem|issue|question|case|situation|result|"
    r"calculation|reasoning|understanding|interpretation|argument|sentence|paragraph|setup|project|idea|plan)s?"
)
SENTENCE_END = re.compile(r"[.?!]\s")  # "this" may refer to something in the sentence before it
# "A bottle without a label - is this safe?"; not "Waiting for parts - should I leave this question open?"
CLAUSE_END = re.compile(r"\w\W?\s[–—-]{1,3}\s")
OF_THE_BODY = re.compile(rf"\s+(?:\w+\s+)?(?:{WORK}|posts?|tags?|sites?|threads?)\b", re.IGNORECASE)
POINTERS = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for kind, pattern in (
        ("demonstrative", rf"(?<!-)\bthis\b(?!-)(?!\s+(?:{TIME}\b|\w+\s+of\s+\w+ing\b))|\bthese\b(?!\s+days\b)"),
        ("demonstrative", r"\bthose\b(?!\s+(?:who|that|which|with|of|in)\b)|\bthat\s+(?:one|thing)\b(?!\s+\w)"),
        ("demonstrative", r"\b(?:is|was|does|do|did|about|like|of|call)\s+that\s*\?|^(?:is|was|does|did)\s+that\b"),
        ("the asker's own work", rf"\b(?:my|our)\s+(?:\w+\s+)?{WORK}\b"),
        (
            "part of the body",
            r"\bthe\s+(?:following|above|below|attached|given)\b|\bas\s+follows\b|\bshown\s+(?:here|below)",
        ),
        ("part of the body", rf"(?<!\bthe )\bfollowing\s+(?:\w+\s+)?(?:things|data|{WORK})\b"),
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
            r"^(?:another|again|also|and|but|so)\b|\bpart\s+(?:\d+|ii+|two|three)\b|"
            r"\bfollow[- ]?up\b(?!\s+(?:on|with|questions|e-?mails?|appointments?|visits?|calls?|studies)\b)",
        ),
    )
)

PRONOUN = re.compile(r"\b(?:it|its|it['’]s|they|them|their|he|him|she|her)\b", re.IGNORECASE)
# "Is it safe to …", "How long does it take to …", "Why is it that …": "it" refers to the words after it
EXPLETIVE = re.compile(
    r"^(?:it|it['’]s)\b(?:\W+\w+){0,6}?\W+(?:to|that|for|if|when|before|whether|why|how|\w+ing)\b|^it(?:['’]s|\s+is|\s+was)?\s+"
    r"(?:exist|rain|snow|dark|cold|hot|warm|late|early|safe|legal|ok|okay|common|normal)\w*\b|^it\s+an?\s+.*\bnot\s+an?\b",
    re.IGNORECASE,
)
# "How do they get beer so strong?": impersonal "they"
IMPERSONAL = re.compile(
    r"^they\s+(?:get|make|call|put|add|build|judge|measure|sell|produce|decide|name|choose|teach|use)\s+(?!it\b|them\b|this\b)\w+",
    re.IGNORECASE,
)
# Words that cannot be an antecedent. Any other word before a pronoun may be its antecedent.
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


AUXILIARY = (
    r"(?:can|could|should|would|will|is|are|was|were|do|does|did|has|have|may|must|am|shall|isn['’]?t|aren['’]?t|don['’]?t|"
    r"doesn['’]?t|didn['’]?t|can['’]?t|won['’]?t|shouldn['’]?t|couldn['’]?t|wouldn['’]?t|any|if|whether|or)"
)
# words of a description that asks, also without a question mark: "I wonder whether", "any advice"
REQUESTS = re.compile(
    r"\?|¿|\b(?:how|what|which|why|where|who|whether|(?:can|could|would|will|do|does|has|have|is|are)\s+(?:you|anyone|someone|anybody|somebody|there)|explain|describe|recommend\w*|"
    r"suggest\w*|advice|advise|tips?|help|wonder\w*|looking\s+for|please|prove|show|tell|find|write|give|compare|(?:would|['’]d)\s+(?:like|love)|"
    r"want\s+to|need\s+(?:to|a|an)|appreciated?)\b",
    re.IGNORECASE,
)
REFERENT = re.compile(
    rf"\b(?:this|these|it|its|they|them)\b(?!\s+(?:{TIME})\b)(?!\s+(?:is|was)\s+(?:a|an|the|my)\b)", re.IGNORECASE
)
# "What causes rust", "Men, what do you cook", "How to boil an egg": questions without a question mark
INTERROGATIVE = (
    r"(?:how|what|why|when|where|who|which|whose|whom|can|could|should|would|will|is|are|was|were|do|does|did|has|have|may|"
    r"must|am|shall|isn['’]?t|aren['’]?t|don['’]?t|doesn['’]?t|didn['’]?t|can['’]?t|won['’]?t|shouldn['’]?t|couldn['’]?t|wouldn['’]?t)"
)
ASKS = re.compile(
    rf"\?|¿|(?:^|[,:;.!–—-]\s+)\W*(?:(?:and|so|but|men|women|people|guys)\s+)?{INTERROGATIVE}(?:['’]s|['’]re)?\b|"
    r"^\W*(?:please\s+)?(?:explain|describe|recommend|suggest|compare|list|help|show|prove|write|give|tell|define|find)\b",
    re.IGNORECASE,
)
# "depending on which ones you are referring to" asks, "the one you refer to" mentions
ASKING = re.compile(
    r"\b(?:(?:depends?|depending|know|say|specify|clear|sure)\b[^.,;\n]{0,20}\b(?:which|what)|if|assuming|whether|unless)\b[^.,;\n]{0,40}\Z",
    re.IGNORECASE,
)
YOU_SAID = re.compile(
    r"\bas\s+you\s+(?:\w+\s+)?(?:list|point\s+out|say|said|note|write|suggest|ask)\b|"
    r"\b(?:example|case|method|code|one|ones)\s+(?:that\s+)?you\s+(?:list|give|ask|show|link|use)\b|"
    r"\byou(?:['’](?:re|ve|d)|\s+(?:are|have|were|had))?\s+(?:also\s+|already\s+|really\s+)?(?:mention|describ|propos|cit|quot|refer|"
    r"wonder|question)\w*\b|"
    r"\byou(?:['’]ve|\s+have)?\s+(?:also\s+|already\s+)?(?:listed|pointed\s+out|posted|gave|provided|showed|wrote|"
    r"stated|asked|linked|included|suggested|said)\b|\byou(?:['’]ve|\s+have)\s+(?:also\s+|already\s+)?(?:given|shown|written)\b|"
    r"\byou(?:['’]re|\s+are)\s+(?:\w+\s+)?(?:(?:right|correct|wrong|mistaken)\b(?!\s+(?:about|if|to|when|for)\b)|"
    r"(?:asking|suggesting)\b(?!\s+(?:about|if|to|when|that|for)\b))|"
    r"\bthe\s+(?:author|creator|maker)\s+of\s+(?:that|this)\s+(?:video|article|post|page|blog|paper|picture|image)\b|"
    r"\bin\s+your\s+case\b|\b(?:can|could|please)\s+(?:you\s+)?(?:show|post|share|provide)\s+(?:us\s+)?your\b|"
    r"(?:^|[.!?]\s+)(?:(?:to|as\s+(?:to|for)|for)\s+)?(?:the\s+|your\s+)?(?:first|second|third|last|other)\s+question\b|"
    r"\bwhat\s+you\s+have\s+(?:there|here|so\s+far)\b|\banswer\s+(?:the|your)\s+follow[- ]?(?:on|up)\b|"
    r"\byou\s+hit\s+the\s+nail\b|"
    r"\byour\s+(?:\w+\s+)?(?:question|example|snippet|post|quote|edit)s?\b|"
    r"\byour\s+(?:first|second|third|last|initial|original|particular|specific|final)\s+\w+|"
    r"\b(?:in|of|outside)\s+th(?:e|is)\s+question\b|\bthe\s+question\s+(?:states|asks|says|mentions|implies|is\s+asking)\b",
    re.IGNORECASE | re.MULTILINE,
)
YOURS = re.compile(r"\byour\s+((?:[\w-]+\s+)?)([\w-]{4,})", re.IGNORECASE)
THIS = re.compile(r"\b(?:this|these|those|such\s+an?)\s+(?:[\w-]+\s+)??([\w-]{4,})", re.IGNORECASE)
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
ITEM = re.compile(r"(question|post|quote|edit)s?$", re.IGNORECASE)
# a title that "yes" or "no" answers; "How do I …" and "Why is …" are others
YES_NO = re.compile(
    rf"(?:^|[,:;.!?()–—-]\s+|\band\s+|\bbut\s+|\bso\s+)\W*{AUXILIARY}\b|\b(?:if|whether|or)\b", re.IGNORECASE
)
ANSWERED = re.compile(
    r"\W*(?:(?:the\s+)?(?:\w+\s+)?answer\s*(?:is|:|would\s+be)?\W*)?(?:yes|no|yep|yeah|nope|not\s+really)\b(?=\s*(?:[,.;:!–—-]|\n|\Z|(?:you|it|they|he|she)\b))",
    re.IGNORECASE,
)
# "Your intuition is good": an assessment of the body
OPENING = re.compile(
    r"\W*Your\s+(?:\w+\s+)?(intuition|assumption|understanding|approach|idea|reasoning|guess|suspicion|thinking|"
    r"analysis|logic|premise|concern|proposal|plan|suggestion|observation|interpretation|code|program|problem|formula|"
    r"derivation|calculation|method|solution)s?\s+(?:is|are|was|seems?|looks?|sounds?|makes?|appears?|has|have|does|do|doesn['’]t|would)\b",
    re.IGNORECASE,
)
OPENERS = frozenset(("obviously", "well", "ok", "okay", "recently", "basically", "simply", "maybe", "perhaps"))
STEM = 5  # letters: "brewing" and "brewery"
LEAST_MISSING = 2  # words of a title
LEAST_QUOTED = 4  # words; fewer may match by chance


def is_question(title: str) -> bool:
    return bool(ASKS.search(title))


def answers_body(title: str, body: str, response: str) -> str | None:
    """Evidence in a response (Markdown) that it answers the body and not the title alone; None without evidence.

    Evidence is a quoted sentence of the body, or words such as "as you mentioned".
    """
    body_text, title_text = (f" {' '.join(_words(text))} " for text in (body, title))
    for quote in prose.quotations(response):
        words = _words(quote)
        run = f" {' '.join(words)} "
        if len(words) >= LEAST_QUOTED and run in body_text and run not in title_text:
            return " ".join(quote.split())
    own = prose.own_words(response)
    for match in YOU_SAID.finditer(own):
        if not ASKING.search(own[: match.start()]) and not _is_subject(match[0], title, body):
            return match[0]
    if (answer := ANSWERED.match(own)) and not YES_NO.search(title):
        return answer[0].strip()
    opening = OPENING.match(own)
    return opening[0] if opening and opening[1].lower() not in title_text else None


def _is_subject(words: str, title: str, body: str) -> bool:
    """Whether "your question" or "your post" names a subject of the prompt, such as questions in general."""
    noun = ITEM.search(words)
    if not noun:
        return False
    item = noun[1].lower()
    return bool(re.search(rf"(?i)\b{item}s?\b", title) or re.search(rf"(?i)(?<!\bmy )\b{item}s\b", body))


def needs_title(description: str, *, title: str, response: str) -> bool:
    """Whether a description cannot be a prompt without its title.

    It asks nothing, begins with a reference to the title ("Is this done commercially?"), or does not name the subject:
    the response names several things, most of them in the title and not in the description.
    """
    if not REQUESTS.search(description):
        return True
    first = QUOTED.sub(" x ", re.split(r"[.?!](?:\s|$)|\n", description.lstrip(), maxsplit=1)[0])
    match = REFERENT.search(first)
    if match and not EXPLETIVE.match(first[match.start() :]):
        before = [word.lower() for word in WORD.findall(first[: match.start()])]
        opens = bool(before) or match[0].lower() in ("these", "they", "them")
        if opens and all(word in EMPTY or word in OPENERS for word in before):
            return True
    named = _stems(title) & _stems(response)
    missing = named - _stems(description)
    return len(missing) >= LEAST_MISSING and 2 * len(missing) > len(named)


def _stems(text: str) -> set[str]:
    """Beginnings of the words of at least four letters that carry a meaning."""
    return {word[:STEM] for word in _words(text) if len(word) > 3 and word not in EMPTY}


def may_answer_body(title: str, body: str, response: str) -> bool:
    """Whether a response mentions what only the body names: "your flour", "this recipe", an identifier of its code."""
    body_text = f" {' '.join(_words(body))} "
    only_body = set(_words(body)) - set(_words(title))
    own = prose.own_words(response)
    for match in YOURS.finditer(own):
        first, second = match[1].strip().lower(), match[2].lower()
        # "your tool" where the body has "I wrote a tool"
        if second in only_body and (
            first in only_body or re.search(rf" (?:my|our|an?|this|the) {re.escape(second)} ", body_text)
        ):
            return True
    identifiers = {word for code in CODE.findall(response) for word in _words(code) if len(word) > 3}
    if identifiers & only_body & {word for code in CODE.findall(body) for word in _words(code)}:
        return True
    for match in THIS.finditer(own):
        noun = match[1].lower()
        named = re.search(rf" (?:my|our|an?|this|these|the|some) (?:\w+ )?{re.escape(noun)} ", body_text)
        if named and noun in only_body and noun not in _words(own[: match.start()]):
            return True
    return False


def _words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def missing_context(title: str) -> str | None:
    """The missing context of a title, with the words that need it; None if the title is self-contained."""
    if marked := MARKED.search(title):
        return f"marked {marked[0].strip()}"
    if FRAGMENT.match(title):
        return f"a fragment: {title!r}"
    # replace a quoted word by a name ('What does "this" mean in Java?') and a quoted sentence by a sentence
    named = QUOTED.sub(lambda quote: " x. " if quote[0].rstrip("\"'”’»`")[-1:] in ".!?" else " x ", title)
    for pattern, kind in POINTERS:
        match = pattern.search(named)
        if match and not _named_before(kind, match, named):
            return f"{kind}: {match[0]!r}"
    for match in PRONOUN.finditer(named):
        if IMPERSONAL.match(named[match.start() :]):
            continue
        before = [word.lower() for word in WORD.findall(named[: match.start()])]
        if all(word in EMPTY for word in before) and not EXPLETIVE.match(named[match.start() :]):
            return f"a pronoun without antecedent: {match[0]!r}"
    return None


def _named_before(kind: str, pointer: re.Match[str], title: str) -> bool:
    """Whether the referent is named before the pointer: "Is beer stale after a year? How to tell this?" """
    before = title[: pointer.start()].lower()
    if kind == "demonstrative":
        noun = pointer[0].lower().removeprefix("that ")
        clause = CLAUSE_END.search(before) and not OF_THE_BODY.match(title, pointer.end())
        return bool(SENTENCE_END.search(before) or clause) or (noun != pointer[0].lower() and noun in before)
    choice = pointer[0].lower().startswith(("which one", "what one"))
    return choice and bool(SENTENCE_END.search(before) or re.search(r"\bwhich\s+(?!ones?\b)\w+|\w\s+or\s+\w", before))
