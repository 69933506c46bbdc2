"""Verdict parsing: reads the label that an annotator model chose from its reply (§4, §5).

The verdict is the last line that begins with a verdict keyword (`VERDICT: A`), a label in double brackets (`[[A]]`), a
tagged or boxed label, or a JSON object with a verdict key. If a reply has none of these, a rating line (`Score: 5/6`)
or a label alone on the last line counts. The following are not verdicts: text in block quotes, quotation marks and
code fences (except a fence that holds only the verdict and ends the reply), a line that a sentence presents as part of
an answer, the template's own line (`VERDICT: A|B|TIE`), and drafts in reasoning blocks.
"""

import ast
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from lima.text import reasoning_blocks

# Verdict keywords, in the languages in which models answer non-English prompts.
VERDICT_WORDS = (
    "verdict|verdikt|werdykt|veredicto|veredito|verdetto|urteil|oordeel|karar|tuomio|domslut|вердикт|判定|裁决|裁決|评判"
    "|판정|평결|निर्णय|الحكم"
)
RATING_WORDS = (
    "rating|score|grade|judge?ment|decision|choice|preference|preferred(?: answer| response)?|winner|label|answer"
    "|conclusion|result|outcome|selection|classification|category|better (?:answer|response)|evaluation|assessment"
    "|bewertung|note|punktzahl|fazit|entscheidung|puntuación|calificación|decisión|conclusión|punteggio|voto"
    "|valutazione|pontuação|nota|décision|ocena|оценка|评分|评级|得分|结论|評価|評分|結論|スコア|점수|평점|결론"
)
MODIFIERS = (
    r"my|the|our|final|overall|total|official|ultimate|likert|numerical|helpfulness|safety|quality|mein|das|dein"
    r"|endgültiges|endgültige|abschließendes|finales?|finale|mon|le|la|mi|el|il|o|definitivo|definitif|moja?"
    r"|мой|итоговый|итоговая|окончательный|最终|最終|我的|最终的|总体|総合|최종|나의"
)
OPENERS = (
    r"so|i(?:['’]ve|\s+have)?\s+decided?|thus|therefore|hence|overall|finally|accordingly|consequently"
    r"|in conclusion|in summary|in short|to conclude"
    r"|to sum up|also|daher|donc|por lo tanto|因此|所以"
)
NAMES = (
    r"answers?|responses?|assistants?|options?|models?|candidates?|choices?|outputs?|systems?|antwort|réponse|respuesta"
    r"|resposta|risposta|odpowiedź|antwoord|yanıt|cevap|ответ|回答|答案|回應|応答|응답|답변"
)
LEAD_INS = r"i(?:'d|\s+would|'ll|\s+will)?\s+(?:choose|pick|prefer|select|go\s+with|vote\s+for|say)|it(?:'s|\s+is)"
# Verbs of sentences that report the content of an answer.
REPORTS = (
    r"says?|said|saying|states?|stated|stating|reads?|reading|writes?|wrote|written|contains?|contained|containing"
    r"|ends?|ended|ending|closes?|closing|concludes?|finishes|includes?|included|including|claims?|claimed|claiming"
    r"|declares?|declaring|instructs?|instructing|orders?|tells?|telling|asks?|asking|demands?|demanding|commands?"
    r"|inserts?|inserted|adds?|added|adding|appends?|appended|appending|injects?|injected|injecting|has|puts?|prints?"
    r"|printed|outputs?|includ\w+|carries|embeds?|embedded|plants?|planted|repeats?|quotes?|begins?|opens?|mentions?"
)
REPORT_OBJECTS = (
    r"with|by|on|in|at|this|these|the|an?|following|its|own|lines?|text|words?|sentence|instructions?|verdict|fake|false"
    r"|final|closing|last|order|injected|for|judges?|to|me|us|that|out|as|follows|literally|even|explicitly|plainly"
    r"|simply|just|too|also|added|inserted|of|form|command|string|statement|graders?|evaluators?|output|and|then|from"
)
SUBJECTS = rf"{NAMES}|it|which|that|he|she|they|user|users|author|prompt|message|text|end|line|a|b|one|second|first"
SEPARATOR = r"(?:\s*\([^()\n]*\))?\s*(?:[:=]>?|->|→|\||\s[-–—]{1,2}\s|\s(?:is|ist|est|es|è|é)\s*:?\s|是:?|は:?)\s*"
QUOTE_MARKS = "\"'“”„‟«»‹›‘’‚「」『』"

KEY_LINE = re.compile(
    rf"^[^\w\n{QUOTE_MARKS}]*(?:\d+[.)]\s*)?(?:(?:{OPENERS})\b[,:;]?\s*)?(?:(?:here(?:'s|\s+is)|this\s+is|that's)\s+)?"
    rf"(?P<before>(?:(?:{MODIFIERS})[\s_-]*)*)"
    rf"(?:(?P<verdict>{VERDICT_WORDS})|(?P<rating>{RATING_WORDS}))"
    rf"(?P<after>(?:[\s_]+(?:final|finale|définitif|definitivo))?)"
    rf"(?:(?P<separator>{SEPARATOR})(?P<value>.*)|\s*:?\s*)$",
    re.IGNORECASE,
)
WITHOUT_COLON = re.compile(r"^[^\w\n]*(?:final\s+)?verdict\s+(\S{1,12})$", re.IGNORECASE)
LAST_SENTENCE = re.compile(rf"[.!?)]\s+(?:final\s+)?(?:{VERDICT_WORDS})\s*[:=]\s*(?P<value>.{{1,30}})$", re.IGNORECASE)
BRACKETS = re.compile(r"\[\[\s*([^\[\]\n]{1,24}?)\s*\]\]")
BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
LATEX = re.compile(r"\\(?:text|textbf|mathbf|mathrm|textit)\s*\{([^{}]*)\}")
TAGS = re.compile(
    r"<(?:final[_ -]?)?(verdict|rating|score|grade|judge?ment|decision|choice|winner|preference|label|answer)>"
    r"(.{0,80}?)</(?:final[_ -]?)?\1>",
    re.IGNORECASE | re.DOTALL,
)
DRAFTS = re.compile(
    r"<(reasoning|analysis|scratchpad|reflection|draft|thoughts?|reason|seed:think)>.*?(?:</\1>|\Z)|◁think▷.*?(?:◁/think▷|\Z)",
    re.IGNORECASE | re.DOTALL,
)
FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final\s*<\|message\|>", re.IGNORECASE)
ANY_CHANNEL = re.compile(r"<\|channel\|>", re.IGNORECASE)
FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(
    r"(?<![\w])\"(?=[^\s\"])[^\"]*?(?<=[^\s\"])\"(?!\w)|“[^”]*(?:”|\Z)|„[^“”]*[“”]|«[^»]*»|「[^」]*」|『[^』]*』"
    r"|(?<![\w])'(?=[^\s'])[^\n]*?(?<=[^\s'])'(?!\w)|‘[^’\n]*’(?!\w)"
)
QUOTED_VERDICT = re.compile(rf"(?:{VERDICT_WORDS}|rating|score|grade)\W{{0,4}}[:=]|\[\[|VERDICT", re.IGNORECASE)
REPORTED_BEFORE = re.compile(
    rf"\b(?:{SUBJECTS})\b[^.!?\n]*\b(?:{REPORTS})(?:\s+(?:{REPORT_OBJECTS})|,)*[^\w.!?]*$"
    rf"|\b(?:quot\w+|excerpt|verbatim|copied|injected|injection|(?:last|first|final|closing)\s+(?:line|sentence)\s+of"
    rf"\s+(?:{NAMES}))\b[^.!?\n]*:\W*$",
    re.IGNORECASE,
)
REPORTED_AFTER = re.compile(
    rf"^\W*(?:(?:is|was)\s+(?:what|written|printed|placed|found|included|claimed|part\s+of|an?\s+(?:quote|instruction"
    rf"|injection|line|attempt)|the\s+(?:line|text|last)|how|only\s+(?:what|text)|just)"
    rf"|appears|(?:says|said|writes|wrote|claims|claimed|demands|orders)\s+(?:the\s+)?(?:{NAMES}|it)\b"
    rf"|(?:at|in|inside|within)\s+(?:the\s+)?(?:end\s+of\s+)?(?:{NAMES})\b)",
    re.IGNORECASE,
)
AFTER_LETTER = re.compile(
    r"^\s+(?:is|was|wins?|would|has|does|gives|over|because|since|as|for|due|by|with|on|in|clearly|significantly|slightly"
    r"|much|strongly|here|overall|being|and|but|than|beats|ist|est|es|è|é|wegen|weil|car|porque|perché)\b|^\s*(?:is\b|[^\w\s])",
    re.IGNORECASE,
)
NOT_CHOSEN = re.compile(
    r"^\W*(?:(?:is|was)\s+(?:not|worse|wrong|inferior|incorrect|the\s+worse|less)|isn['’]t|loses|lost)\b", re.IGNORECASE
)
ALTERNATIVE = r"\|+|/|&|\bvs\.?|\bversus\b|\bor\b|\band\b|\boder\b|\bund\b|\bou\b|\bet\b|->|→|=>|={1,2}|<+"
KEYS = frozenset(
    (
        *("verdict", "final_verdict", "finalverdict", "rating", "overall_rating", "final_rating", "score", "grade"),
        *("final_score", "overall_score", "judgment", "judgement", "decision", "choice", "winner", "preference"),
        *("label", "final_answer", "answer", "better", "classification"),
    )
)
CUT_OBJECT = re.compile(r"\{\s*[\"']\w[^{}]*\Z")

LITERAL_CHARS = 4000  # longest Python literal that is parsed in place of JSON

Unreadable = Literal["unreadable", "ignored"]


@dataclass(frozen=True)
class _Candidate:
    line: int
    value: str | None  # None: a verdict line without a readable label
    firm: bool  # a verdict line; else a rating line, which counts only without a verdict line


@dataclass(frozen=True)
class _Labels:
    """The labels of a task, and the patterns that recognise them."""

    values: dict[str, str]  # label in lower case → value
    start: re.Pattern[str]  # a label at the beginning of a text, after words such as "answer"
    listed: re.Pattern[str]  # another label after a separator: "|B", "or B"
    enumerated: re.Pattern[str]  # the same after a comma
    also_better: re.Pattern[str]  # another label as a second winner: ", B is better in content"
    numeric: bool
    distinct: frozenset[str]
    highest: str


def response_schema(labels: Mapping[str, str]) -> dict[str, object]:
    """Return the `response_format` option that restricts a reply to a JSON object with a reason and a label.

    Args:
        labels: as for `parse`; the first label of each value is allowed.
    """
    first = {value: label for label, value in reversed(list(labels.items()))}
    allowed = [label for label, value in labels.items() if first[value] == label]
    schema = {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": allowed}},
        "required": ["reason", "verdict"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}


def parse(reply: str, labels: Mapping[str, str], *, finish: Literal["stop", "length"] = "stop") -> str | None:
    """Return the value of the label that the reply chooses; None if it chooses none or contradicts itself.

    Args:
        reply: text of the reply, with reasoning blocks.
        labels: label as a model writes it (case-insensitive) → value. Several labels may have the same value.
        finish: "length" for a reply that was cut at the token limit, which has no verdict.
    """
    if finish == "length":
        return None
    known = _compile(tuple(labels.items()))
    text = _final_text(reply)
    text, objects = _json_verdicts(text, known)
    lines = _unquoted(text).split("\n")
    candidates = sorted([*objects, *_candidates(lines, known)], key=lambda candidate: candidate.line)
    bare = _bare_label(lines, known)
    chosen = [c for c in candidates if c.firm] or [c for c in candidates if c.value is not None]
    if not chosen:
        return bare
    value = chosen[-1].value
    return value if {*_final_values(chosen, lines), bare or value} == {value} else None


def _final_values(candidates: list[_Candidate], lines: list[str]) -> set[str | None]:
    """Readable values of the last candidates that no other text separates."""
    last = candidates[-1]
    values, line = {last.value}, last.line
    for candidate in reversed(candidates[:-1]):
        if any(_plain(between) for between in lines[candidate.line + 1 : line]):
            break
        values |= {candidate.value} - {None}
        line = candidate.line
    return values


# --- parts of a reply that cannot hold the verdict ------------------------------------------------------------------


def _final_text(reply: str) -> str:
    """The reply without reasoning, with compatible characters unified (full-width colon) and tags as lines."""
    text = unicodedata.normalize("NFKC", reply).replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub("[\u200b-\u200f\u2060\ufe0e\ufe0f\ufeff\u202a-\u202e]", "", text)
    if ANY_CHANNEL.search(text):
        text = FINAL_CHANNEL.split(text)[-1] if FINAL_CHANNEL.search(text) else ""
    text = DRAFTS.sub("", reasoning_blocks.without(text))
    for _ in range(2):
        text = LATEX.sub(r"\1", text)
    text = BOXED.sub(r"[[\1]]", text)
    return TAGS.sub(lambda tag: f"\n{tag[1]}: {' '.join(tag[2].split())}\n", text)


def _unquoted(text: str) -> str:
    """Blank out block quotes, code fences and quoted verdicts; line numbers do not change."""
    text = re.sub(r"^[ \t]*(?:[-*+]\s+)?>.*$", "", text, flags=re.MULTILINE)
    fences = list(FENCE.finditer(text))
    for fence in reversed(fences):
        final = fence is fences[-1] and not text[fence.end() :].strip()
        whole = not text[: fence.start()].strip()
        short = len([line for line in fence[2].split("\n") if line.strip()]) <= 2
        if final and (whole or (short and not _reported(text[: fence.start()].rstrip().rsplit("\n", 1)[-1]))):
            inner = text[fence.start(2) : fence.end(2)]
            text = text[: fence.start()] + "\n" + inner + text[fence.end() :]
        else:
            text = text[: fence.start()] + "\n" * fence[0].count("\n") + text[fence.end() :]
    return QUOTED.sub(lambda span: "\n" * span[0].count("\n") if QUOTED_VERDICT.search(span[0]) else span[0], text)


def _reported(before: str) -> bool:
    """Whether the text before a verdict presents it as part of an answer: "Answer B ends with"."""
    return REPORTED_BEFORE.search(before.replace("*", "").rstrip()) is not None


# --- JSON ------------------------------------------------------------------------------------------------------------


def _json_verdicts(text: str, labels: _Labels) -> tuple[str, list[_Candidate]]:
    """Return the text with JSON objects blanked out, and the verdicts in those that are not quoted.

    A text whose last object is not closed was cut: everything from its brace is removed.
    """
    candidates: list[_Candidate] = []
    if cut := CUT_OBJECT.search(text, max(text.rfind("{"), 0)):
        text = text[: cut.start()]
    kept, end, last_brace = [], 0, text.rfind("}")
    start = text.find("{")
    while start != -1 and start < last_brace:
        if (parsed := _json_object(text, start)) is None:
            start = text.find("{", start + 1)
            continue
        content, after = parsed
        values = set(_verdict_values(content, labels))
        if values and not _in_quote(text, start, after):
            line = text.count("\n", 0, start)
            candidates.append(_Candidate(line, values.pop() if len(values) == 1 else None, firm=True))
        kept += [text[end:start], "\n" * text.count("\n", start, after)]
        end = after
        start = text.find("{", end)
    return "".join([*kept, text[end:]]), candidates


def _json_object(text: str, start: int) -> tuple[dict[str, object], int] | None:
    """The object that begins at an index, as JSON or as a Python literal without nested objects, and its end."""
    try:
        content, end = json.JSONDecoder(strict=False).raw_decode(text, start)
    except json.JSONDecodeError:
        end = text.find("}", start, start + LITERAL_CHARS) + 1
        if not end:
            return None
        try:
            content = ast.literal_eval(re.sub(r",\s*\}$", "}", text[start:end]))
        except (ValueError, SyntaxError, MemoryError):
            return None
    except RecursionError:
        return None
    return (content, end) if isinstance(content, dict) else None


def _verdict_values(content: dict[str, object], labels: _Labels) -> Iterator[str | None]:
    keys = [key for key in content if isinstance(key, str) and re.sub(r"[\s-]", "_", key.casefold()) in KEYS]
    firm = [key for key in keys if "verdict" in key.casefold() or "final" in key.casefold()]
    for key in firm or keys:
        value = content[key]
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            read = _read(str(value), labels)
            yield None if read in ("unreadable", "ignored") else read
    if not keys:
        for value in content.values():
            if isinstance(value, dict):
                yield from _verdict_values(value, labels)


def _in_quote(text: str, start: int, end: int) -> bool:
    """Whether an object is quoted: in a block quote, after "Answer B contains:", or in a fence that is not the last."""
    line = text[text.rfind("\n", 0, start) + 1 : start]
    if line.lstrip().startswith(">") or text[:start].rstrip().endswith(tuple("“«「")):
        return True
    before = re.sub(r"(?:```|~~~)\w*\s*$", "", text[:start].rstrip()).rstrip()
    after = re.sub(r"^\s*(?:```|~~~)", "", text[end:]).strip()
    fenced = before != text[:start].rstrip()
    return _reported(before.rsplit("\n", 1)[-1]) or (fenced and bool(after) and bool(before))


# --- lines -----------------------------------------------------------------------------------------------------------


def _candidates(lines: list[str], labels: _Labels) -> Iterator[_Candidate]:
    previous = ""  # last line with text
    for number, raw in enumerate(lines):
        line = _plain(raw)
        if not line:
            continue
        introduced = previous.endswith(":") or (number > 0 and bool(_plain(lines[number - 1])))
        if not (introduced and _reported(previous)):
            candidate = _candidate(number, line, lines, labels)
            if candidate is not None:
                yield candidate
        previous = line


def _candidate(number: int, line: str, lines: list[str], labels: _Labels) -> _Candidate | None:
    key = KEY_LINE.match(line)
    firm = key is not None and (key["verdict"] is not None or "final" in f"{key['before']}{key['after']}".lower())
    bracketed = _bracketed(line, labels)
    if bracketed != "ignored":
        return _Candidate(number, None if bracketed == "unreadable" else bracketed, firm=True)
    if key is None:
        inline = WITHOUT_COLON.match(line) or _last_sentence(line, lines, number)
        if inline is None or _reported(line[: inline.start()]):
            return None
        read = _read(inline[inline.lastindex or 0], labels, alone=True)
        return None if read in ("unreadable", "ignored") else _Candidate(number, read, firm=True)
    if key["value"]:
        read = _read(key["value"], labels)
        return None if read == "ignored" else _Candidate(number, None if read == "unreadable" else read, firm)
    following = next((later for later in map(_plain, lines[number + 1 :]) if later), "")
    read = _read(following, labels, alone=True)
    return None if read in ("unreadable", "ignored") else _Candidate(number, read, firm)


def _bracketed(line: str, labels: _Labels) -> str | Unreadable:
    """The value in double brackets; "ignored" without one, and for a list of all labels or a reported one."""
    values = []
    for match in BRACKETS.finditer(line):
        read = _read(match[1], labels, alone=True)
        if read not in ("unreadable", "ignored") and not _reported(line[: match.start()]):
            if REPORTED_AFTER.match(line[match.end() :]):
                continue
            values.append(read)
    distinct = set(values)
    if not distinct or len(distinct) > 2 or distinct == labels.distinct:
        return "ignored"
    return distinct.pop() if len(distinct) == 1 else "unreadable"


def _bare_label(lines: list[str], labels: _Labels) -> str | None:
    """The value of a label alone on the last line with text; "5." may be a list item that was cut."""
    written = [line for line in map(_plain, lines) if line]
    if not written or re.fullmatch(r"\d+[.)]", written[-1]):
        return None
    cut = any(written[-1].count(left) != written[-1].count(right) for left, right in ("[]", "()", "{}", "<>"))
    if cut or (len(written) > 1 and _reported(written[-2])):
        return None
    label = re.sub(r"^[\W_]+|[\W_]+$", "", written[-1])
    if labels.numeric and (out_of := re.fullmatch(rf"(\d+)\s*/\s*{labels.highest}", label)):
        label = out_of[1]
    return labels.values.get(label.casefold()) if written[-1][:1] not in QUOTE_MARKS else None


def _last_sentence(line: str, lines: list[str], number: int) -> re.Match[str] | None:
    """A verdict that is the last sentence of the last line with text."""
    match = LAST_SENTENCE.search(line)
    return match if match and not any(map(_plain, lines[number + 1 :])) else None


def _plain(line: str) -> str:
    """A line without Markdown emphasis, code marks and heading marks."""
    line = re.sub(r"[*`~]|^\s*#+", "", line)
    line = re.sub(r"^\s*[\[【]([^\[\]【】]{1,24})[\]】]\s*:?\s*(?=\S)", r"\1: ", line)  # [Verdict] A
    return re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", " ", line).strip()


# --- labels ----------------------------------------------------------------------------------------------------------


@lru_cache
def _compile(items: tuple[tuple[str, str], ...]) -> _Labels:
    values = {label.casefold(): value for label, value in items}
    longest_first = "|".join(re.escape(label) for label in sorted(values, key=len, reverse=True))
    prefix = rf"(?:(?:{LEAD_INS}|{NAMES}|an?|the)(?:[\s:#]+|(?<=[^\x00-\x7f])))*[\[(<{{\"']*"
    label = rf"(?P<label>{longest_first})(?![\w])(?!-\w)(?!\+)"
    return _Labels(
        values=values,
        start=re.compile(rf"{prefix}{label}", re.IGNORECASE),
        listed=re.compile(
            rf"[\s\])}}>\"']*(?:{ALTERNATIVE})\s*(?:(?:maybe|perhaps|possibly|{NAMES}|the|an?)\s+)*[\[(<\"']*{label}",
            re.IGNORECASE,
        ),
        enumerated=re.compile(
            rf"[\s\])\"']*[,;]\s*(?:(?:or|and|{NAMES})\s+)*[\[(\"']*{label}"
            rf"(?=[\s\])\"']*(?:$|[,;|/.]|\bor\b|\band\b))",
            re.IGNORECASE,
        ),
        also_better=re.compile(
            rf"(?:[,;]|\bbut|\band|\bwhile)\s+(?:(?:{NAMES}|the|but|and|while)\s+)*{label}"
            rf"\s+(?:is|was|wins)\b(?:\s+\w+)?(?:\s+(?:better|superior|stronger|best)|\s+in)\b",
            re.IGNORECASE,
        ),
        numeric=all(value.isdigit() for value in values),
        distinct=frozenset(values.values()),
        highest=max(values, key=lambda name: int(name) if name.isdigit() else 0),
    )


def _read(text: str, labels: _Labels, *, alone: bool = False) -> str | Unreadable:
    """Read the label at the beginning of a text.

    Args:
        alone: the label may be followed by punctuation or a parenthesis only.

    Returns:
        Its value; "unreadable" without a label or with two; "ignored" for a list of all labels or a reported verdict.
    """
    text = re.sub(r"^(?:[^\w\n-]|_)+", "", text.replace("А", "A").replace("В", "B"))  # Cyrillic capitals
    match = labels.start.match(text)
    if match is None:
        return "unreadable"
    label, rest = match["label"], text[match.end() :]
    value = labels.values[label.casefold()]
    scaled = labels.numeric and re.match(rf"\s*/\s*{labels.highest}(?!\s*/)\b", rest)
    listed, rest = ({value}, rest) if scaled else _listed(value, rest, labels)
    if listed == labels.distinct or (labels.numeric and _is_range(label, rest, labels)):
        return "ignored"
    if len(listed) > 1 or re.match(r"\W*\?", rest) or NOT_CHOSEN.match(rest):
        return "unreadable"
    if REPORTED_AFTER.match(rest):
        return "ignored"
    second = labels.also_better.search(rest)
    if second and labels.values[second["label"].casefold()] not in (value, "tie"):
        return "unreadable"
    if labels.numeric:
        return value if _is_whole(rest, labels) else "unreadable"
    if alone and not re.match(r"[\s\])}>\"'’”.,!$]*(?:$|[(:;.,—–-])", rest):
        return "unreadable"
    if len(label) == 1 and rest:
        lower_case_word = label.islower() and match.end() == 1 and rest.strip(" .!)")
        if lower_case_word or (rest[:1].isspace() and rest.strip() and not AFTER_LETTER.match(rest)):
            return "unreadable"
    return value


def _listed(value: str, rest: str, labels: _Labels) -> tuple[set[str], str]:
    """Values of the labels that follow in a list, such as "|B|TIE" or ", B or TIE", and the text after it."""
    values = {value}
    while match := labels.listed.match(rest) or labels.enumerated.match(rest):
        values.add(labels.values[match["label"].casefold()])
        rest = rest[match.end() :]
    if re.match(r"\W*(?:or|oder|ou)\b", rest, re.IGNORECASE):
        values.add("")  # an alternative that is not a label: "A or neither of them"
    return values, rest


def _is_range(label: str, rest: str, labels: _Labels) -> bool:
    """Whether the label begins the range of the whole scale: "1-6", "1 to 6"."""
    lowest = min(labels.values, key=int)
    return label == lowest and bool(re.match(rf"\s*(?:-|–|—|to|\.\.+)\s*{labels.highest}\b", rest))


def _is_whole(rest: str, labels: _Labels) -> bool:
    """Whether the text after a digit leaves it a whole number of the scale: not "4.5", "4-5", "5/10"."""
    scale = re.match(r"[\s\])]*(?:/|out of|of|von|sur|de|su|из|van)\s*(\d+)", rest, re.IGNORECASE)
    if scale:
        return scale[1] == labels.highest
    fraction = re.match(r"[.,](\d+)", rest)
    if fraction:
        return not fraction[1].strip("0")
    return not re.match(r"\s*(?:-|–|—|~|\bto\b|\bbis\b|%)\s*(?:\d|$)|\s*%", rest)
