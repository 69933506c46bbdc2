"""Layouts of chat rows: under which keys a published row holds its turns, and how they become a dialogue.

`LAYOUTS` are rows with responses, which the reader `chat` accepts; `PROMPT_LAYOUTS` are prompts alone, as test sets
publish them. A row's layout is found by its keys; the first one that fits counts.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from lima.jsonl import JsonObject
from lima.sources import json_rows
from lima.sources.json_rows import RowError

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
TURNS = ("messages", "conversations", "conversation")
QUESTIONS = ("prompt", "question", "instruction", "query")
RESPONSES = ("completion", "response", "answer", "output")
INPUTS = ("input", "context")
SYSTEMS = ("system", "system_prompt")
NO_INPUT = frozenset(("<noinput>", "<no input>"))  # how Alpaca's makers wrote that there is none
FOOTNOTE = re.compile(r"(?<=\S)\[\d{1,3}\]")  # Wikipedia's marks in Dolly's contexts
TRANSCRIPT = re.compile(r"\n\n(Human|Assistant):")
WAY_OUT = 'write it as JSON lines of {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", …}]}'

Row = JsonObject


class Turn(NamedTuple):
    role: str  # as the layout names it where it is none of ROLES
    content: str


class Dialogue(NamedTuple):
    turns: tuple[Turn, ...]
    matter: str = ""  # the input below an instruction, which ends the last prompt
    more: tuple[str, ...] = ()  # other inputs of the same instruction


class Unfit(ValueError):
    """A dialogue that is readable and no example; `reason` is a name as in Dropped."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Layout(NamedTuple):
    name: str
    fits: Callable[[Row], bool]
    parse: Callable[[Row], Dialogue]  # Raises RowError


def of(row: object, layouts: Sequence[Layout] | None = None) -> Layout | None:
    """The layout of a row, None where it has none of them."""
    if not isinstance(row, Mapping):
        return None
    return next((layout for layout in layouts or LAYOUTS if layout.fits(row)), None)


def check(dialogue: Dialogue) -> None:
    """Raises Unfit unless user and assistant alternate, after one system turn at most, and each response says more."""
    roles = [turn.role for turn in dialogue.turns]
    if other := next((role for role in roles if role not in ("system", "user", "assistant")), None):
        raise Unfit("third_speaker", other)
    spoken = dialogue.turns[roles[:1] == ["system"] :]
    if not spoken:
        raise Unfit("empty_text", "no user turn")
    if [turn.role for turn in spoken] != [("user", "assistant")[number % 2] for number in range(len(spoken))]:
        raise Unfit("turns_do_not_alternate", " ".join(roles))
    if spoken[-1].role == "assistant" and not spoken[-1].content.strip():
        raise Unfit("no_answer", f"turn {len(spoken)} is empty")
    for number, (prompt, response) in enumerate(zip(spoken[::2], spoken[1::2], strict=False), start=1):
        last = dialogue.matter if 2 * number == len(spoken) else ""
        if response.content.split() in (prompt.content.split(), last.split() or None):
            raise Unfit("response_equals_input", repr(response.content.strip()[:60]))


def user_texts(row: object) -> list[str]:
    """Every text of the user in a row, an instruction and its inputs apart; [] where the row has no known layout."""
    if (dialogue := _prompted(row)) is None:
        return []
    texts: list[str] = []
    for turn in dialogue.turns:
        if turn.role == "user":
            texts += apart(turn.content, dialogue.matter)
    return [text for text in dict.fromkeys([*texts, *dialogue.more]) if text.strip()]


def first_prompt(row: object) -> str:
    """The first prompt of a row, an input below its instruction; "" where there is none."""
    dialogue = _prompted(row)
    return next((turn.content.strip() for turn in dialogue.turns if turn.role == "user"), "") if dialogue else ""


def apart(prompt: str, matter: str) -> tuple[str, ...]:
    """Split a prompt into its instruction and the input below it."""
    return (prompt.removesuffix(f"\n\n{matter}"), matter) if matter and prompt.endswith(f"\n\n{matter}") else (prompt,)


def keys(rows: Iterable[object]) -> str:
    """What rows of no known layout look like, for a message: the keys of the first of them."""
    row = next(iter(rows), None)
    if not isinstance(row, Mapping):
        return f"rows of the type {type(row).__name__}"
    names = ", ".join(f"`{name}`" for name in list(row)[:12])
    if {"message_id", "parent_id", "text", "role"} <= row.keys():
        return f"OASST's single messages (rows with the keys {names}); fetch its trees instead, *.trees.jsonl.gz"
    if of(row, PROMPT_LAYOUTS):
        return f"prompts without responses (rows with the keys {names})"
    return f"rows with the keys {names}" if names else "rows without keys"


def _prompted(row: object) -> Dialogue | None:
    if isinstance(row, str):
        return Dialogue((Turn("user", row),))
    layout = of(row, (*LAYOUTS, *PROMPT_LAYOUTS))
    return layout.parse(row) if layout and isinstance(row, Mapping) else None


# --- turns ---------------------------------------------------------------------------------------------------------


def _cell(row: Row, key: str) -> object:
    """A row's value; turns that are written as JSON, as in a cell of CSV, are decoded."""
    value = row.get(key)
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(RowError):
            turns = json_rows.loads(value.encode())
            if isinstance(turns, list) and all(
                isinstance(turn, Mapping) and not {"role", "from"}.isdisjoint(turn) for turn in turns
            ):
                return turns
    return value


def _turn_key(row: Row) -> str | None:
    return next((key for key in TURNS if row.get(key) is not None), None)


def _first_turn(row: Row) -> object:
    """The first of the turns; in LIMA's layout, a text in the place of the list is the only turn."""
    if (key := _turn_key(row)) is None:
        return None
    value = _cell(row, key)
    if isinstance(value, str):
        return value if key == "conversations" and not value.lstrip().startswith("[") else None
    return value[0] if isinstance(value, list) and value else None


def _dialogue(row: Row) -> Dialogue:
    key = _turn_key(row) or TURNS[0]
    return Dialogue((*_system(row), *_turns(_cell(row, key), key)))


def _turns(value: object, key: str) -> tuple[Turn, ...]:
    """Turns as objects with a role, or as bare texts in alternation."""
    value = [value] if isinstance(value, str | Mapping) else value
    if not isinstance(value, list) or not value:
        raise RowError(f"{key}: no list of turns")
    return tuple(_turn(turn, number, f"{key}.{number}") for number, turn in enumerate(value))


def _turn(turn: object, number: int, key: str) -> Turn:
    if isinstance(turn, str):
        return Turn("assistant" if number % 2 else "user", _text(turn, key))
    if not isinstance(turn, Mapping):
        raise RowError(f"{key}: a turn is a text, or an object with role and content, not {turn!r:.60}")
    role = str(turn.get("role") or turn.get("from") or "")
    content = next((turn[name] for name in ("content", "value", "text") if name in turn), None)
    if isinstance(content, list):
        content = _parts(content, key)
    return Turn(ROLES.get(role.lower(), role or "no role"), "" if content is None else _text(content, key, blank=True))


def _parts(parts: list[object], key: str) -> str:
    """The text of a content that is a list of parts, as chat endpoints take it."""
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) else None
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise RowError(f"{key}: a part that is not text: {kind!r:.60}")
        texts.append(text)
    return "".join(texts)


def _text(value: object, key: str, *, blank: bool = False) -> str:
    if not isinstance(value, str):
        raise RowError(f"{key}: no text, but {value!r:.60}")
    if not blank and not value.strip():
        raise RowError(f"{key}: no text")
    return value


def _system(row: Row) -> tuple[Turn, ...]:
    found = next((row[key] for key in SYSTEMS if isinstance(row.get(key), str) and row[key].strip()), None)
    return (Turn("system", found),) if found else ()


# --- instruction, input, response ----------------------------------------------------------------------------------


def _question_key(row: Row, names: Sequence[str] = QUESTIONS) -> str | None:
    return next((name for name in names if isinstance(row.get(name), str | list)), None)


def _response_key(row: Row) -> str | None:
    return next((name for name in RESPONSES if name in row), None)


def _matter(row: Row) -> str:
    """The input of an instruction; "" where it is missing, null or named as none."""
    key = next((name for name in INPUTS if row.get(name) is not None), None)
    text = _text(row[key], key, blank=True).strip() if key else ""
    return "" if text.lower() in NO_INPUT else text


def _prompts(row: Row, key: str, matter: str) -> tuple[Turn, ...]:
    value = _cell(row, key)
    if isinstance(value, list):
        return _turns(value, key)
    parts = [part for part in (_text(value, key, blank=True), matter) if part.strip()]
    return (Turn("user", _text("\n\n".join(parts), key)),)


def _history(row: Row) -> tuple[Turn, ...]:
    """Earlier exchanges, as LLaMA-Factory adds them to Alpaca's layout."""
    turns: list[Turn] = []
    for number, exchange in enumerate(row.get("history") or ()):
        if not isinstance(exchange, list) or len(exchange) != 2:
            raise RowError(f"history.{number}: no pair of prompt and response")
        turns += _turns(exchange, f"history.{number}")
    return tuple(turns)


def _pair(row: Row, *, question: str = "", response: str = "", footnotes: bool = True) -> Dialogue:
    question, response = question or _question_key(row) or QUESTIONS[0], response or _response_key(row) or RESPONSES[0]
    matter = _matter(row) if footnotes else FOOTNOTE.sub("", _matter(row))
    asked = _prompts(row, question, matter)
    return Dialogue((*_system(row), *_history(row), *asked, *_responses(row, response)), matter)


def _responses(row: Row, key: str) -> tuple[Turn, ...]:
    """The response, a text or turns; one that is null is empty."""
    value = _cell(row, key)
    if isinstance(value, list | Mapping):
        return _turns(value, key)
    return (Turn("assistant", "" if value is None else _text(value, key, blank=True)),)


# --- preferences and trees -----------------------------------------------------------------------------------------


def _chosen(row: Row) -> Dialogue:
    """Parse a whole dialogue, or the response to the prompt of the same row."""
    value = _cell(row, "chosen")
    if isinstance(value, str) and value.startswith("\n\nHuman:"):
        _, *parts = TRANSCRIPT.split(value)
        said = zip(parts[::2], parts[1::2], strict=True)
        return Dialogue(tuple(Turn(ROLES["user" if who == "Human" else "bot"], text.strip()) for who, text in said))
    turns = _responses(row, "chosen")
    if turns[0].role in ("system", "user"):
        return Dialogue((*_system(row), *turns) if turns[0].role == "user" else turns)
    if (question := _question_key(row)) is None:
        raise RowError("chosen: a response without a prompt")
    return Dialogue((*_system(row), *_prompts(row, question, ""), *turns))


def _tree(row: Row) -> Dialogue:
    """The path of the best-ranked replies; a prompt at its end that nobody answered is left out."""
    turns: list[Turn] = []
    node: Any = row["prompt"]
    while isinstance(node, Mapping):
        turns.append(_turn(node, 0, "prompt"))
        replies = [reply for reply in node.get("replies") or () if not reply.get("deleted")]
        node = min(replies, key=_rank, default=None)
    if len(turns) > 1 and turns[-1].role == "user":
        turns.pop()
    return Dialogue(tuple(turns))


def _rank(reply: Row) -> float:
    rank = reply.get("rank")
    return float("inf") if rank is None else rank


def _is_tree(row: Row) -> bool:
    return isinstance(row.get("prompt"), Mapping) and "replies" in row["prompt"]


def _turns_by(key: str) -> Callable[[Row], bool]:
    """Whether turns are objects that name their speaker under this key."""

    def fits(row: Row) -> bool:
        first = _first_turn(row)
        return isinstance(first, Mapping) and key in first

    return fits


# --- prompts alone -------------------------------------------------------------------------------------------------


def _questions(row: Row) -> Dialogue:
    value = _cell(row, "turns")
    return Dialogue(tuple(Turn("user", text) for text in _strings(value, "turns")))


def _strings(value: object, key: str) -> list[str]:
    if not isinstance(value, list) or not value:
        raise RowError(f"{key}: no list of texts")
    return [_text(text, f"{key}.{number}") for number, text in enumerate(value)]


def _instances(row: Row) -> Dialogue:
    inputs = [_matter(one) for one in row["instances"] if isinstance(one, Mapping)]
    first = inputs[0] if inputs else ""
    return Dialogue(_prompts(row, "instruction", first), first, tuple(inputs[1:]))


def _prompt(row: Row) -> Dialogue:
    key = _question_key(row, PROMPTS) or PROMPTS[0]
    matter = _matter(row)
    return Dialogue((*_system(row), *_prompts(row, key, matter)), matter)


_alpaca = partial(_pair, question="instruction", response="output")
_dolly = partial(_pair, question="instruction", response="response", footnotes=False)
PROMPTS = (*QUESTIONS, "text", "goal")
LAYOUTS = (
    Layout("LIMA's layout", lambda row: isinstance(_first_turn(row), str), _dialogue),
    Layout("ShareGPT's layout", _turns_by("from"), _dialogue),
    Layout("chat messages", _turns_by("role"), _dialogue),
    Layout("OASST's trees", _is_tree, _tree),
    Layout("preference pairs", lambda row: "chosen" in row, _chosen),
    Layout("Alpaca's layout", lambda row: {"instruction", "output"} <= row.keys(), _alpaca),
    Layout("Dolly's layout", lambda row: {"instruction", "context", "response"} <= row.keys(), _dolly),
    Layout("prompts with responses", lambda row: bool(_question_key(row) and _response_key(row)), _pair),
)
PROMPT_LAYOUTS = (
    Layout("questions of several turns", lambda row: isinstance(row.get("turns"), list), _questions),
    Layout(
        "tasks with instances",
        lambda row: isinstance(row.get("instruction"), str) and isinstance(row.get("instances"), list),
        _instances,
    ),
    Layout("prompts", lambda row: _question_key(row, PROMPTS) is not None, _prompt),
)
LIMA, ALPACA = LAYOUTS[0], LAYOUTS[5]
