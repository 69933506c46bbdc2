"""Style filters for community answers: first person, and references to other texts (LIMA §2.1).

Each filter returns the offending words, or None. The filters favour recall over precision: dumps are large, and one
answer with "as Bob wrote above" teaches a model to write so. docs/data.md lists the precision of each rule.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from lima.text import prose, removal_marks
from lima.text.removal_marks import Marked


class Phrase(NamedTuple):
    """A pattern with its literal prefilter: a text without any of the words is not searched, since nothing matches.

    Words of capital letters occur as such, others in any case. Without words every text is searched.
    """

    pattern: re.Pattern[str]
    words: tuple[str, ...]

    def occurs_in(self, vocabulary: str) -> bool:
        """Whether the pattern may match a text, given its `words_of`."""
        return not self.words or any(word in vocabulary for word in self.words)


# "ı", "İ" (in lower case "i" with a dot above) and "ſ" match "i" and "s" where case is ignored
LOOKALIKES = str.maketrans({"ı": "i", "\u0307": None, "ſ": "s"})


def words_of(text: str) -> str:
    """The text followed by the text in lower case, in which the words of phrases are looked up."""
    lower = text.lower()
    return f"{text}\n{lower if text.isascii() else lower.translate(LOOKALIKES)}"


# Case-sensitive: "ME" is not a pronoun. Contractions begin with the same word: "I'm". Only the singular, as in the
# paper's examples: of the 400 Stack Exchange answers released, 75 contain "we" (as in proofs) and 1 contains "my".
PRONOUNS = r"I|[Mm]e|[Mm]y|MY|[Mm]ine|[Mm]yself|IMH?O|AFAI[KR]|IIRC|IANAL"
# "i think" in lower case; the variable "i" is not followed by such a verb
HASTY = r"i['’](?:m|ve|d|ll)\b|i\s+(?:am|was|have|had|think|believe|would|will|can|could|do|don|did|know|use|guess)\b"
# "we" may be a teacher's; possessions of the author show that it is not
OWN = (
    r"[Oo]ur\s+(?:own\s+)?(?:store|shop|company|restaurant|bar|pub|team|lab|office|house|home|kitchen|family|kids?|sons?|"
    r"daughters?|children|customers|clients|employer|school|department|university|project|product|software|app|website|code\s?base|brewery|winery)|[Ww]e\s+(?:sell|opted|ship)"
)
NUMBERED = (
    r"Types?|Class|Phase|Part|Volume|Vol\.|Book|Chapter|Section|Act|War|Level|Grade|Category|Stage|Schedule|Article|"
    r"Appendix|Mark|Group|Division|Table|Figure|Theorem|Calculus|Physics|Region|Vitamin|Elizabeth|James|Charles|"
    r"Francis|Henry|Napoleon|Nicholas|Peter|Leopold|Wilhelm|William|George|Edward|Richard|Alexander|Catherine|"
    r"Ferdinand|Frederick|Louis|Mary|Otto|Paul|Philip"
)
OTHER_WORDS = "|".join(
    (
        rf"\b(?:{NUMBERED})[ \-\u00a0]I\b(?!['’])|\btype[ -]I(?= error)",  # a numeral: World War I, Elizabeth I
        r"\bI\s?[/=_^|<>+×]|[/=_^|<>+%&\\]\s?I\b|\bI-\d",  # a letter: I/O, I = V/R, Ctrl+I, %I, R&I, I-95
        r"\(I\)|^[ \t]*I[.)](?=\s)|\b[A-Z]\. I\. (?=[A-Z])|\bI\.\s?e\.",  # list markers; J. I. Packer; "I.e."
        r"\b(?:an?|the|this|that|each|every|coal|gold|silver|salt|copper|iron|diamond|land|data)\s+mine\b",
    )
)
# OTHER_WORDS come first in the alternation, so that their matches are skipped.
PRONOUN = re.compile(rf"{OTHER_WORDS}|(?P<author>\b(?:{PRONOUNS}|{HASTY}|{OWN})\b)", re.MULTILINE)

# A person, as named in answers: "Bob", "@bob", "Bob Salita", "others"; not "the article" or "the sour notes"
PERSON = (
    r"(?:@\w\S*|[A-Z][\w.-]*(?:\s+[A-Z][\w.-]*){0,2}|[Yy]ou|(?:[Oo]thers?|[Ss]ome(?:one|body))(?:\s+\w+)?|"
    r"the\s+(?:OP|asker))"
)
SAID = (
    r"(?:said|says?|noted|notes?|pointed\s+out|points?\s+out|suggest(?:s|ed)?|comment(?:s|ed)|wrote|writes|written|"
    r"explain(?:s|ed)|stat(?:es|ed)|mention(?:s|ed)?|answer(?:s|ed)|indicat(?:es|ed)|observ(?:es|ed)|remark(?:s|ed)|"
    r"describ(?:es|ed)|list(?:s|ed))"
)
ADVERBS = (
    r"(?:\s*['’](?:s|ve)|\s+(?:has|have|had|already|also|correctly|rightly|previously|just|so|well|quite|once)){0,3}"
)
# start of a clause: "As stated, it is" is a reference, "the problem as stated" is not
CLAUSE = r"(?:^|[.,;:(!?–—-]\s{0,2}|\b(?:and|but|so|or|because|since|that)\s+)"
IN_A_WORK = r"(?!\s+in\s+(?:his|her|their|the)\s+(?:\w+\s+)?(?:book|paper|essay|article|novel|memoir))"
# a comment in source code: "in a comment next to the loop"
IN_CODE = (
    r"(?!\s+(?:in|of|to|at|next|on|inside|within|before|beside|after|above|below|near|explaining|that|saying|with|for)\s+"
    r"(?:(?:the|each|every|your|its|an?|this|that|it|what|why|how)\b|it\b))"
)
OTHER_ANSWERS = r"(?:other|another|previous|accepted|earlier|existing|top|above|current|excellent|great)"
ANSWERS = r"(?:answers?|answerers?|responders?|posters?|repl(?:y|ies))"

REFERENCES = tuple(
    Phrase(re.compile(pattern, re.MULTILINE), tuple(words.split()))
    for words, pattern in (
        (
            "mentioned",
            r"(?i)\bas\s+(?:\S+\s+){0,2}?mentioned\b",
        ),
        (
            "",
            rf"\b(?:[Aa]s|[Ll]ike)\s+{PERSON}{ADVERBS}\s+{SAID}\b{IN_A_WORK}",
        ),
        (
            "",
            rf"\b[A-Z@]\w+\s+(?:has\s+|already\s+)*{SAID}\s+(?:above|below|here|earlier|in\s+(?:the|his|her|their|an?)\s+(?:other\s+)?(?:answers?|comments?))\b",
        ),
        (
            "",
            rf"\b[Aa]s\s+(?:[a-z]\w+\s+(?:commented|already\s+{SAID})|(?:already|previously|was|has\s+been)\s+{SAID})\b",
        ),
        (
            "said noted pointed stated suggested",
            rf"(?i){CLAUSE}as\s+(?:already\s+|previously\s+)?(?:said|noted|pointed\s+out|stated|suggested)\b",
        ),
        (
            "said noted pointed stated suggested commented posted mentioned written",
            r"(?i)\bas\s+(?:already\s+|previously\s+)?(?:said|noted|pointed\s+out|stated|suggested|commented|posted)\s+(?:by|in|above|before|earlier|here)\b"
            r"|\bwhat(?:['’]s|\s+has)\s+(?:already\s+)?been\s+(?:said|mentioned|written)\b",
        ),
        (
            "stack overflow ubuntu serverfault",
            r"(?i)\bstack\s*exchange\b|\b(?:stackoverflow|math\s?overflow|mathoverflow|ask\s?ubuntu|serverfault)\b",
        ),
        (
            "overflow",
            r"\b(?:Stack\s?[Oo]verflow)\b",  # in lower case with a space it means the error
        ),
        (
            "answer responder poster repl",
            rf"(?i)\b{OTHER_ANSWERS}\s+{ANSWERS}\b|\b(?:top|highest)[\s-]+(?:voted|rated)\s+answers?\b",
        ),
        (
            "answer",
            r"(?i)\banswers?\s+(?:above|already\s+given|(?:given|posted|provided)\s+(?:by|here|above)|so\s+far)\b"
            r"|\banswers?\s+(?:below|here)\b(?!\s+(?:the|an?|is|are|depends?)\b)|\b(?:at|see|read)\s+(?:this|that|my|his|her)\s+answer\b",
        ),
        (
            "comment",
            rf"(?i)\b(?:your|my|\w+['’]s)\s+comments?\b|\bcomments?\s+(?:above|below)\b{IN_CODE}(?!\s+(?:the|each|every|it|a)\b)"
            r"|\b(?:this|the)\s+comments?\s+(?:by|from|of\s+yours|of\s+(?-i:[A-Z]\w*)|on\s+(?:the|your)\s+(?:question|answer|post))\b",
        ),
        (
            "comment",
            rf"(?i)\b(?:in|from|per|see|read|reading)\s+(?:(?:the|your|his|her|their|other|some|earlier|those)\s+)?comments\b{IN_CODE}",
        ),
        (
            "comment",
            r"(?i)\bin\s+a\s+(?:\w+\s+)?comment\s*(?:$|[,.;:)]|you\b|to\s+(?:the|your|this)\b|(?:above|below|here)\b(?!\s+(?:the|an?|each|every|it)\b))",
        ),
        (
            "comment",
            rf"(?i)\b(?:leave|leaving|add|post|write|drop)\s+(?:me\s+|us\s+)?a\s+comment\b{IN_CODE}|\b(?:for|than)\s+a\s+comment\b|\bcommenters?\b",
        ),
        (
            "OP O.P. original asker",
            r"\bOP\b(?![- ]?amp)|\bO\.P\.|(?i:\boriginal\s+(?:poster|post|question)\b|\bthe\s+asker\b)",
        ),
        (
            "post thread",
            r"(?i)\b(?:previous|linked|related|duplicate|similar|original)\s+(?:post|thread)\b",
        ),
        (
            "question",
            r"(?i)\b(?:linked|related|duplicate|previous)\s+questions?\b|\b(?:by|in|to|from|see)\s+(?:the\s+)?other\s+questions?\b|\bother\s+questions?\s+(?:here|on\s+(?:this|the)\b|about|with\s+the\s+tag)",
        ),
        (
            "duplicate repeat",
            r"(?i)\b(?:duplicate|repeat)\s+of\s+(?:this|that|an?\s+(?:old|older|earlier|existing)|another|(?:the|your)\s+question)\b",
        ),
        (
            "question",
            r"(?i)\banother\s+question\b(?!,?\s+(?:really|entirely|altogether|of|is)\b)|\bthere\s+(?:are|is)\s+already\b[^.\n]{0,30}\bquestions?\b",
        ),
        (
            "question title .se",
            r"(?i)\b(?:question|title)\s+(?:of|in|from)\s+(?:the|your)\s+(?:title|question)\b|\b\w+\.SE\b",
        ),
        (
            "SE cited",
            r"\bSE\s+(?:sites?|network|questions?|answers?|posts?)\b|\b(?:[Oo]n|this|another|suitable)\s+SE\b|\b[Cc]ited\s+(?:\w+\s+)?(?:answer|question|post)\b",
        ),
        # "Bob already gave a good answer"
        (
            "answer",
            r"\b[A-Z@]\w+\s+(?:has\s+|already\s+)*(?:gave|given|posted|provided|written)\s+(?:you\s+)?(?:an?|the)\s+(?:[\w-]+\s+){0,2}answers?\b",
        ),
        (
            "question",
            r"(?i)\bbased\s+(?:off|off\s+of|on)\s+an?\s+(?:\w+\s+)?question\s+(?:on|from|at)\b",
        ),
        (
            "answered discussed",
            r"(?i)^\W*answered\s+by\b|\bhas\s+(?:already\s+)?been\s+(?:well\s+|already\s+)?answered\b|\balready\s+discussed\b",
        ),
        (
            "participants people users folks everyone anyone others members posters post",
            r"(?i)\b(?:participants|people|users|folks|everyone|anyone|others|members|posters)\s+here\b|\bto\s+post\s+code\b",
        ),
        # "above" in the first sentence refers to another answer
        (
            "",
            r"(?i)\A[^.!?:\n]{0,200}?\b(?:the|as|given|mentioned|noted|discussed|described|stated)\s+above\b",
        ),
        (
            "site forum place community exchange stack",
            r"(?i)\b(?:right|correct|best|proper|wrong)\s+(?:site|forum|place|community|exchange|stack)\s+(?:for\s+(?:this|that|my)|to\s+ask)\b",
        ),
        (
            "question",
            r"(?i)\bthis\s+question\s+(?:is|was|came)\s+(?:inspired|related|based|motivated|prompted|similar|a\s+follow)\b",
        ),
        (
            "site forum community meta",
            r"(?i)\b(?:in|on|for|from|of|to)\s+this\s+(?:site|forum|community)\b|\bmeta\s+(?:post|site)\b",
        ),
        (
            "community edit answer other",
            r"(?i)\bcommunity[\s-]+wiki\b|\bfeel\s+free\s+to\s+edit\b|\bedit(?:ing)?\s+(?:this|my|the)\s+(?:answer|post)\b"
            r"|\b(?:accept|upvote)\s+(?:this|my|an|the|your)\s+answer\b|\bwhat\s+(?:other\s+people|others)\b[^.\n]{0,25}\b(?:say|think)\b[^.\n]{0,12}\bhere\b",
        ),
        (
            "edit update addendum",
            r"(?i)^\W*(?:edit|update|addendum|edited)\b\s*(?:#?\d+|\([^)\n]*\)|(?:to|after|based|from)\s[^\n:.]{0,40})?\W{0,3}:",
        ),
        (
            "edit update addendum",
            r"^\W*(?:EDIT(?:ED)?|Edit(?:ed)?|UPDATE|ADDENDUM|Addendum)\W*$",
        ),
        (
            "vot",
            r"(?i)\b(?:up|down)-?\s?vot(?:e|es|ed|ing|er|ers)\b",
        ),
    )
)
# "Bob's answer", "quid's answer", but not "the tutor's answer" or "students' answers"
OWNED = Phrase(
    re.compile(r"(?:\b(\w+)\s+)?(?<![\w.@-])(@?\w[\w.-]*)['’]s?\s+(?:(?:excellent|great|good|nice)\s+)?[Aa]nswers?\b"),
    ("answer",),
)
SPACED = re.compile(r"\S+")
DETERMINERS = frozenset(
    SPACED.findall(
        """
    the a an each every any no your their his her our my this that these those other another
    """
    )
)
NO_OWNERS = frozenset(
    SPACED.findall(
        """
    it that this what here there let who he she one everyone someone nobody everybody else student students pupil pupils
    child children people person learner user users teacher teachers today kids client server system model machine
    participants computer program experts expert
    """
    )
)
ARTICLES = frozenset(("the", "a", "an", "each", "every", "any", "no"))
MENTION = Phrase(re.compile(r"(?:^|(?:\b(\w+))?[\s(])@([A-Za-z][\w-]*)(\(|\.\w|\s+\w+)?", re.MULTILINE), ("@",))
# words after "@" that are not names: CSS, annotations, documentation tags
AT_WORDS = frozenset(
    SPACED.findall(
        """
    media import font-face keyframes supports charset namespace page layer property container include mixin extend use
    apply param return returns throws exception author version since deprecated inheritdoc link code see todo override
    overload test before after autowired component service repository entity id column inject bean configuration
    controller restcontroller requestmapping getter setter nullable notnull safevarargs functionalinterface home
    suppresswarnings staticmethod classmethod dataclass abstractmethod functools app pytest interface implementation
    end selector synthesize protocol class objc ts-ignore
    """
    )
)
AT_NOUNS = frozenset(
    SPACED.findall(
        """
    rule rules query queries annotation annotations decorator decorators tag tags block blocks directive directives
    attribute attributes symbol sign selector keyword statement variable parameter method function syntax
    """
    )
)
# "this thread" or "the post" refers to the site only if the word occurs once: other threads and posts recur.
PLACES = tuple(
    (
        re.compile(
            rf"\b(?:[Tt]his|[Tt]he|[Yy]our)\s+{word}\b(?!\s+(?:office|code|card|pool|count|processing|\w+ation|\w+ing)\b)"
        ),
        Phrase(re.compile(rf"(?i)\b{word}(?:s|ing|ed)?\b"), (word,)),
    )
    for word in ("post", "thread")
)

# "that video" refers to the question only if the word occurs once
SHOWN_ONCE = tuple(
    (
        re.compile(rf"\b[Tt]hat\s+(?:[A-Z]\w+\s+){{0,2}}{word}\b"),
        Phrase(re.compile(rf"(?i)\b{word}s?\b"), (word.partition("\\")[0],)),
    )
    for word in ("page", "article", "video", "picture", "photo", "screen\\s?shot", "diagram")
)

IN_PICTURE = "pic image photo screen diagram figure illustration video"  # words of PICTURE
PICTURE = r"(?:pictures?|pics?|images?|photos?|screen\s?shots?|diagrams?|figures?|illustrations?|videos?)"
# references to a link or an image, wherever one was removed
CERTAIN = tuple(
    Phrase(re.compile(pattern, re.IGNORECASE), tuple(words.split()))
    for words, pattern in (
        (
            IN_PICTURE,
            rf"\b{PICTURE}\s+(?:above|below|to\s+the\s+(?:left|right))\b|\b(?:see|above|below|attached|linked)\s+(?:the\s+)?{PICTURE}\b",
        ),
        (
            IN_PICTURE,
            rf"[(\[]\s*{PICTURE}\s*(?:source|credits?|by|from|via|:)|\bclick\s+(?:on\s+)?(?:the\s+|this\s+)?{PICTURE}\b",
        ),
        (
            "referenced linked",
            r"\b(?:article|page|paper)\s+(?:referenced|linked)\b|\blinked\s+(?:article|page|paper|document|site|video)\b|\blinked\s+(?:in|from)\s+(?:the|your|this)\b",
        ),
        (
            "link referenced",
            r"\blinks?\s+(?:you|that\s+you)\s+(?:provided|gave|posted|shared|included)\b|\byou\s+(?:linked|referenced)\b|\byour\s+links?\b",
        ),
        # "For more details, see the Yeast Guide.": the text of a link
        (
            "detail info images reading examples",
            r"\bfor\s+(?:more|further|additional)\s+(?:\w+\s+)?(?:details?|information|info|images|reading|examples)\b[^.\n]{0,60}?"
            r"\b(?:see|check|visit|read|refer|look\s+(?:at|in|here)|consult|there\s+(?:is|are))\b|"
            r"\b(?:suggested|recommended|further)\s+reading\s+(?:is\s+)?(?:on|at|from)\b",
        ),
        (
            "summary article guide detail info discussion explanation overview tutorial",
            r"\b(?:summary|article|guide|details|information|discussion|explanation|overview|tutorial)\b[^.\n]{0,30}"
            r"\bcan\s+be\s+(?:seen|found|read)\b",
        ),
        (
            "link",
            r"\bhere(?:'s|’s|\s+is)\s+(?:a|another|the)\s+(?:\w+\s+)?link\b|\b(?:found|see|follow|check\s+out|via|at|to)\s+this\s+link\b",
        ),
        (
            "click more",
            r"\bclick\s+here\b|\b(?:read|see|find)\s+more\s+here\b",
        ),
        (
            "following",
            r"\b(?:see|read|check(?:\s+out)?|visit|consult)\s+(?:also\s+)?(?:the\s+)?following\s+(?:[\w-]+\s+)?"
            r"(?:articles?|links?|pages?|(?:web\s?)?sites?|resources?|papers?|posts?|videos?|references?|sources?|blogs?)\b",
        ),
        (
            "source",
            r"\bsourced?\s+from\s*(?:\Z|\n|and\b)",
        ),
    )
)
# references only if a link or an image is near; else they refer to the text: "To see this, apply …"
LIKELY = tuple(
    Phrase(re.compile(pattern, re.IGNORECASE | re.MULTILINE), tuple(words.split()))
    for words, pattern in (
        (
            IN_PICTURE,
            rf"\b{PICTURE}\s+(?:here|shows?)\b|\b(?:following|this|these)\s+{PICTURE}\b",
        ),
        (
            "link",
            r"\b(?:this|these|the|following|above)\s+links?\b",
        ),
        (
            "here",
            r"\b(?:see|look|click|found|available|explained|described|discussed|read|shown|listed|more|info(?:rmation)?|details)"
            r"\s+(?:is\s+|are\s+)?here\b",
        ),
        (
            "see here",
            r"\bsee\s+(?:this|these)\b|\b(?:can|could|may)\s+(?:find|read|see|get)\b[^.\n]{0,40}\bhere\b",
        ),
        (
            "here",
            r"\bhere(?:'s|’s|\s+is|\s+are)\s+(?:a|an|the|some|another)\s+(?:\w+\s+)?"
            r"(?:links?|articles?|pages?|posts?|papers?|guides?|tutorials?|videos?|lists?|tables?|pictures?|images?)\b",
        ),
        (
            "reading detail info",
            r"\bfor\s+(?:more|further|additional)\s+(?:reading|details|info(?:rmation)?)\b(?=\W*$)",
        ),
        (
            "below above attached",
            r"\b(?:white\s?paper|article|page|paper|pdf|code|source|log|schematic|link|site|list|table|graph|chart)s?\s+(?:is|are)\s+"
            r"(?:(?:given|shown|linked|posted)\s+)?(?:below|above|attached)\b",
        ),
        (
            "article page site blog post thread paper pdf piece",
            r"\bthis\s+(?:wikipedia\s+)?(?:article|page|website|site|blog|post|thread|paper|pdf|piece)\b",
        ),
    )
)
ELSEWHERE = Phrase(
    re.compile(
        r"\blinks?\s+(?:above|below|here)\b|\b(?:above|below|following|first|second|third|last|top|same)\s+links?\b",
        re.IGNORECASE,
    ),
    ("link",),
)
DOCUMENT = (
    r"(?:links?|sources?|articles?|pages?|wiki|web\s?sites?|sites?|videos?|info(?:rmation)?|details?|blogs?|posts?|blogposts?|refs?|"
    r"references?|pdfs?|papers?|answers?|questions?|threads?|comments?|tables?|lists?|stud(?:y|ies)|charts?|graphs?|maps?|books?|reports?|"
    r"guides?|documents?|documentation|talks?|lectures?|tutorials?|descriptions?|explanations?|reviews?|analys[ie]s|surveys?|"
    rf"stor(?:y|ies)|demos?|tools?|recipes?|repos?(?:itory)?|{PICTURE})"
)
# link texts without meaning of their own: "here", "this 1953 analysis", "[2]", "source", "Why is beer flat?"
DEICTIC = re.compile(
    r"^\W*(?:there|that|more|\d{1,2}|(?:chapter|section|part|page)\s+[\d.]+|[^\n]*\bpdf|"
    r"(?:this|these|those|click|see|read)\b(?:\W+\S+){0,6}|here\b.*|[^\n]{0,80}\bhere|"
    rf"[^\n]*\bha(?:s|ve)\s+(?:an?|some|the)\s+(?:[\w-]+\s+){{0,2}}{DOCUMENT}|"
    rf"(?:(?:the|a|an|some|more|my|his|her|their|official|original|full|that)\s+)*(?:blog\s+)?{DOCUMENT}|"
    r"(?:an?\s+)?(?:\w+\s+){1,2}(?:article|web\s?page|web\s?site|video|blog|post|tutorial|discussion|explanation|overview|paper|thread)|"
    r"[^\n]*\?|[^\n]*\b(?:answers?|posts?|threads?|comments?))\W*$",
    re.IGNORECASE | re.DOTALL,
)
# words before a link that the reader must follow
FOLLOW = re.compile(
    r"(?:\b(?:see|read|visit|consult|cf\.|refer\s+to|check(?:\s+out)?|go\s+to|"
    r"(?:have|take|having|taking)\s+a\s+look\s+(?:at|in)|look(?:ing)?\s+(?:at|in)|"
    r"(?:see|read|visit|check)\s+(?:[\w'’-]+\s+){0,3}(?:entry|entries|pages?|articles?|papers?|posts?|sections?|lists?|books?|sites?|"
    r"documentation|docs|guides?|tutorials?)\s+(?:for|on|at|of|by|about|in|from|called|titled)|"
    r"(?:found|available|details|more|described|discussed|explained|shown|listed|covered)\s+(?:in|at|on|from|by))[\s,:]+"
    r"(?:(?:also|the|an?|e\.g\.|for\s+(?:example|instance)|their|his|her|\w+['’]s?)[\s,:]+){0,3}|"
    r"^\W*(?:related|see\s+also|also\s+see|(?:further|related|suggested)\s+reading|(?:read\s+|learn\s+)?more(?:\s+info(?:rmation)?)?|also)\s*:\s*|\^\(?)[\"'“‘(]*\Z",
    re.IGNORECASE,
)
# "this ⟦table⟧", "this USDA ⟦link⟧"; not "these ⟦neural networks⟧", which the text names before
THIS = re.compile(
    r"\b(?:this|these|those|that|following|linked)\s+(?:(?!(?:of|is|are|was|were|has|have|in|to|by)\b)[\w-]+\s+){0,2}[\"'“‘(]*\Z",
    re.IGNORECASE,
)
# "In the question ⟦Encouraging class participation⟧": an item of the site, named by its title
SITE_ITEM = re.compile(
    r"\b(?:the|this|that|my|another|an?)\s+(?:(?:other|related|similar|earlier|previous|recent|meta)\s+)?"
    r"(?:question|answer|post|thread)s?[\s,:]+(?:(?:titled|called|entitled|about)\s+)?[\"'“‘(]*\Z",
    re.IGNORECASE,
)
NAMES_DOCUMENT = re.compile(rf"\A(?:\W*[\w'’-]+){{0,3}}?\W*\b{DOCUMENT}\b", re.IGNORECASE)
# words before or after an image that refer to it
SHOWS = re.compile(
    rf":\W*\Z|\b(?:{PICTURE}|graphs?|plots?|charts?|maps?|drawings?|sketch(?:es)?|schematics?|animations?|gifs?)\b|"
    r"\b(?:looks?\s+like\s+(?:this|so|the\s+following)|like\s+(?:this|so)|as\s+follows|shown|seen|see|illustrat\w+|depict\w*|below|above|following|"
    r"here\s+(?:is|are)|here['’]s)\b",
    re.IGNORECASE,
)
CAPTION = re.compile(
    rf"\W*(?:{PICTURE}|source|credits?|fig\.?|click|from|via|as\s+(?:you\s+can\s+see|shown|seen)|the\s+above|above)\b",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[.!?]\s")
# a line that only announces links
HANGING = Phrase(
    re.compile(
        r"^\W*(?:see(?:\s+also)?|also\s+see|more\s+info(?:rmation)?|(?:further|related|suggested|recommended|additional)\s+reading|"
        r"(?:read|learn)\s+more|related|(?:(?:helpful|useful|relevant|related|external|some|more)\s+)*(?:links?|resources))\W*$",
        re.IGNORECASE | re.MULTILINE,
    ),
    ("see", "more", "reading", "related", "link", "resource"),
)
UNFINISHED = re.compile(r"\S*[:;]\s*\Z")  # announces a removed image or link, or is cut off
# a sentence that announces the address on the next line
ANNOUNCES = re.compile(r"\bhere(?:['’]s|\s+is|\s+are)\b|^\W*(?:see|read|check|watch|look|from)\b", re.IGNORECASE)
NEAR = 60  # most characters between LIKELY words and a removed link or image


def first_person(markdown: str) -> str | None:
    """The first word in the first person, with its context."""
    text = prose.own_words(removal_marks.removed(markdown))
    return next((_context(text, *match.span()) for match in PRONOUN.finditer(text) if match["author"]), None)


def site_reference(markdown: str) -> str | None:
    """The first reference to other answers, comments, users or the site, with its context."""
    text = prose.own_words(removal_marks.removed(markdown))
    vocabulary = words_of(text)
    places = [place for place, word in PLACES if word.occurs_in(vocabulary) and len(word.pattern.findall(text)) == 1]
    patterns = [phrase.pattern for phrase in REFERENCES if phrase.occurs_in(vocabulary)]
    spans = [match.span() for pattern in (*patterns, *places) if (match := pattern.search(text))]
    if OWNED.occurs_in(vocabulary):
        spans += [match.span() for match in OWNED.pattern.finditer(text) if _owner_is_person(match)]
    if MENTION.occurs_in(vocabulary):
        spans += [match.span() for match in MENTION.pattern.finditer(text) if _mentions_person(match)]
    return _context(text, *min(spans)) if spans else None


def _owner_is_person(match: re.Match[str]) -> bool:
    return (match[1] or "").lower() not in DETERMINERS and match[2].lower() not in NO_OWNERS


def _mentions_person(match: re.Match[str]) -> bool:
    before, name, after = (match[1] or "").lower(), match[2].lower(), (match[3] or "").strip().lower()
    return before not in ARTICLES and name not in AT_WORDS and after not in AT_NOUNS and after[:1] not in ("(", ".")


def dangling_reference(marked: str, *, links_known: bool) -> str | None:
    """The first reference to a removed link or image, with its context.

    With `links_known` the text has `lima.text.removal_marks` at removed links and images, and the patterns LIKELY match
    only near a mark.
    """
    text, links, cuts = removal_marks.read(marked)
    visible = prose.own_words_in_place(text)
    vocabulary = words_of(visible)
    once = [
        shown for shown, word in SHOWN_ONCE if word.occurs_in(vocabulary) and len(word.pattern.findall(visible)) == 1
    ]
    certain = [phrase.pattern for phrase in (*CERTAIN, HANGING) if phrase.occurs_in(vocabulary)]
    spans = [match.span() for pattern in (*certain, *once) if (match := pattern.search(visible))]
    for phrase in (*LIKELY, ELSEWHERE):
        if not phrase.occurs_in(vocabulary):
            continue
        for match in phrase.pattern.finditer(visible):
            begin, end = match.span()
            near = any(begin - NEAR <= place <= end + 2 * NEAR for place in (*cuts, *(link[0] for link in links)))
            if not links_known or near or (phrase is ELSEWHERE and (links or cuts)):
                spans.append((begin, end))
    spans += _required_links(Marked(text, links, cuts), visible)
    spans += _image_sentences(text, cuts)
    if cut := UNFINISHED.search(text, max(0, len(text) - 200)):
        spans.append(cut.span())
    return _context(text, *min(spans)) if spans else None


def _required_links(marked: Marked, visible: str) -> Iterator[tuple[int, int]]:
    """Spans of links without which the author's own sentence has no meaning."""
    text = marked.text
    for begin, end in marked.links:
        head = text.rfind("\n", 0, begin) + 1
        line_end = text.find("\n", end)
        line = text[head : line_end if line_end >= 0 else len(text)]
        if begin == end:
            # a removed URL: part of its line, or announced by the line before
            before = text[:head].rstrip()
            announced = before.endswith((":", "from")) or bool(
                ANNOUNCES.search(SENTENCE_END.split(before[before.rfind("\n") + 1 : -1])[-1])
            )
            if (
                re.search(r"\w", line) and visible[head:begin].strip() + visible[end : head + len(line)].strip()
            ) or announced:
                yield begin, begin
        elif visible[begin:end].strip() and not any(begin <= cut <= end for cut in marked.cuts):
            before = text[head:begin]
            alone = line.strip() == text[begin:end].strip() and not _follows_quotation(text, head)
            if alone or DEICTIC.match(text[begin:end]) or SITE_ITEM.search(before):
                yield begin, end
            elif follow := FOLLOW.search(before) or (NAMES_DOCUMENT.match(text[begin:]) and THIS.search(before)):
                yield head + follow.start(), end


def _follows_quotation(text: str, head: int) -> bool:
    """Whether a line follows a quotation, as the line with its source does."""
    lines = text[:head].rstrip().rsplit("\n", 1)
    return lines[-1].lstrip().startswith(">")


def _image_sentences(text: str, cuts: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Spans in the sentences before and after a removed image that refer to it."""
    for cut in cuts:
        before = text[:cut].rstrip(" \n\t-*>([")
        line = before[before.rfind("\n") + 1 :]
        sentence = SENTENCE_END.split(line.rstrip(".!?"))[-1] if not line.endswith(":") else line
        after = text[cut:].lstrip(" \n\t-*>)]")
        if shows := SHOWS.search(sentence):
            start = len(before) - len(sentence)
            yield start + shows.start(), start + shows.end()
        elif caption := CAPTION.match(after):
            start = len(text) - len(after)
            yield start, start + caption.end()


def _context(text: str, start: int, end: int) -> str:
    """The span with up to 20 characters of whole words on either side."""
    before, after = text[max(0, start - 21) : start], text[end : end + 21]
    if len(before) == 21:
        before = before.partition(" ")[2]
    if len(after) == 21:
        after = after.rpartition(" ")[0]
    return " ".join(f"{before}{text[start:end]}{after}".split())
