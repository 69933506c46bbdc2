"""`lima chat`: a conversation with one or several contestants in the terminal, streamed (LIMA §6)."""

import json
import os
import random
import sys
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TextIO

from lima.annotation.contestant_replies import Reply, open_replies
from lima.config import Params
from lima.display import visible
from lima.errors import LimaError
from lima.records import Turn

HELP = (
    "/system TEXT  set the system turn and start again\n"
    "/retry        another response to the last message; after a failure only of those who failed\n"
    "/reset        start again\n"
    "/reveal       show which contestant has which letter\n"
    "/save FILE    append the conversation to a JSONL file, in the form of corpus/dialogues\n"
    "/quit         end"
)
WAITING = "…"  # in the column of a contestant before its first words: a model is loaded at the first message
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LOCAL_MODES = 3  # index in the attributes of a terminal (termios)
MIN_COLUMN = 36  # characters of a column; narrower ones are shown below each other


class ChatError(LimaError):
    """A command that cannot be carried out."""


class Columns(Protocol):
    """Shows texts that grow, side by side."""

    def __call__(self, texts: Mapping[str, str]) -> object: ...


ShowColumns = Callable[[], AbstractContextManager[Columns]]


class Chat:
    """The same user turns for every contestant; each continues with its own responses.

    Args:
        replies: by the name that is shown.
        write: prints a piece of text.
        columns: shows the responses of several contestants side by side; None: one after the other.
        contestants: by the name that is shown, for `/reveal` and `/save`; None: the names are the contestants.
    """

    def __init__(
        self,
        replies: Mapping[str, Reply],
        write: Callable[[str], object],
        *,
        columns: ShowColumns | None = None,
        contestants: Mapping[str, str] | None = None,
    ) -> None:
        self._replies = replies
        self._write = write
        self._columns = columns if len(replies) > 1 else None
        self._contestants = contestants or {name: name for name in replies}
        self._system: Turn | None = None
        self._messages: dict[str, list[Turn]] = {name: [] for name in replies}
        self._sample = 0

    def handle(self, line: str) -> bool:
        """Carry out a command or answer a message. Returns False at the end of the conversation.

        Raises:
            ChatError: an unknown or incomplete command.
        """
        command, _, argument = line.strip().partition(" ")
        match command:
            case "":
                return True
            case "/quit":
                return False
            case "/help":
                self._write(f"{HELP}\n")
            case "/reset":
                self._start(self._system)
            case "/system":
                self._start(Turn(role="system", content=argument) if argument else None)
            case "/retry":
                self._retry()
            case "/reveal":
                self._write("".join(f"{name}: {self._contestants[name]}\n" for name in self._replies))
            case "/save":
                self._save(argument)
            case _ if command.startswith("/"):
                raise ChatError(f"unknown command: {command}; /help lists the commands")
            case _:
                self._ask(line.strip())
        return True

    def messages(self, name: str) -> list[Turn]:
        """The turns of a contestant, the system turn included."""
        return [*([self._system] if self._system else []), *self._messages[name]]

    def _start(self, system: Turn | None) -> None:
        self._system = system
        self._sample = 0
        for messages in self._messages.values():
            messages.clear()

    def _waiting(self) -> list[str]:
        """Contestants without a response to the last message."""
        return [name for name, messages in self._messages.items() if messages and messages[-1].role == "user"]

    def _ask(self, text: str) -> None:
        if waiting := self._waiting():
            raise ChatError(f"no response of {', '.join(waiting)} yet; /retry asks again, /reset starts again")
        self._sample = 0
        for messages in self._messages.values():
            messages.append(Turn(role="user", content=text))
        self._answer(list(self._replies))

    def _retry(self) -> None:
        if not any(self._messages.values()):
            raise ChatError("no response to repeat; write a message first")
        self._sample += 1
        waiting = self._waiting()
        if not waiting:
            for messages in self._messages.values():
                messages.pop()
        self._answer(waiting or list(self._replies))

    def _answer(self, names: Sequence[str]) -> None:
        if self._columns is not None:
            self._answer_in_columns(names, self._columns)
            return
        for name in names:
            self._write(f"{name}: ")
            pieces = []
            try:
                for piece in self._stream(name):
                    pieces.append(piece)
                    self._write(visible(piece))
            except LimaError as error:
                self._write(f"\nerror: {self._failure(error)}\n")
                continue
            self._write("\n")
            self._messages[name].append(Turn(role="assistant", content="".join(pieces)))

    def _answer_in_columns(self, names: Sequence[str], columns: ShowColumns) -> None:
        """One piece of each contestant in turn."""
        texts = dict.fromkeys(names, "")
        shown = dict.fromkeys(names, WAITING)
        streams = {name: self._stream(name) for name in names}
        with columns() as show:
            show(shown)
            while streams:
                for name, stream in list(streams.items()):
                    try:
                        texts[name] += next(stream)
                    except StopIteration:
                        del streams[name]
                        self._messages[name].append(Turn(role="assistant", content=texts[name]))
                    except LimaError as error:
                        del streams[name]
                        shown[name] = f"error: {self._failure(error)}"
                        continue
                    shown[name] = visible(texts[name])
                show(shown)

    def _stream(self, name: str) -> Iterator[str]:
        return self._replies[name](self.messages(name), "chat", self._sample)

    def _failure(self, error: LimaError) -> str:
        """The message of an error; without it if the contestants are hidden, since it may name one."""
        hidden = any(name != contestant for name, contestant in self._contestants.items())
        return "no response; /retry asks again" if hidden else f"{error}; /retry asks again"

    def _save(self, argument: str) -> None:
        if not argument:
            raise ChatError("/save needs a file; write /save FILE.jsonl")
        if not any(self._messages.values()):
            raise ChatError("no conversation to save; write a message first")
        if waiting := self._waiting():
            raise ChatError(f"no response of {', '.join(waiting)} yet; /retry asks again")
        path = Path(argument)
        known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        system = f"; system turn: {self._system.content}" if self._system else ""  # dialogues of the corpus have none
        lines = [
            json.dumps(
                {
                    "id": f"chat-{len(known) + number}",
                    "group": "A",
                    "topic": "chat",
                    "kind": "dialogue",
                    "sensitive": False,
                    "note": f"conversation with {self._contestants[name]}{system}",
                    "messages": [turn.model_dump() for turn in self._messages[name]],
                },
                ensure_ascii=False,
            )
            for number, name in enumerate(self._replies, start=1)
        ]
        with path.open("a", encoding="utf-8") as out:
            out.write("".join(f"{line}\n" for line in lines))
            out.flush()
            os.fsync(out.fileno())
        self._write(f"{path}: {len(lines)} conversations added; edit them before use\n")


def letters(names: Sequence[str], rng: random.Random) -> dict[str, str]:
    """Contestants by a letter, in random order."""
    if len(names) > len(LETTERS):
        raise ChatError(f"{len(names)} contestants; at most {len(LETTERS)} can be hidden")
    return dict(zip(LETTERS, rng.sample(names, len(names)), strict=False))


class LiveColumns:
    """Columns in the terminal that are drawn again while the texts grow."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(refresh_per_second=8, vertical_overflow="visible")

    def __enter__(self) -> Columns:
        self._live.__enter__()
        return self._show

    def __exit__(self, *reason: object) -> None:
        self._live.__exit__(None, None, None)

    def _show(self, texts: Mapping[str, str]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(expand=True)
        for name in texts:
            table.add_column(name, ratio=1, overflow="fold")
        table.add_row(*(Text(text) for text in texts.values()))  # Text: no markup in a response is interpreted
        self._live.update(table)


@contextmanager
def without_echo(terminal: TextIO) -> Iterator[None]:
    """Do not show what is typed while a response is drawn; it is kept for the next prompt.

    Args:
        terminal: nothing is changed if it is a file or a pipe.
    """
    if not terminal.isatty():
        yield
        return
    before = termios.tcgetattr(terminal)
    changed = before.copy()
    changed[LOCAL_MODES] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def run(params: Params, names: Sequence[str], *, blind: bool) -> None:
    """Read messages from the terminal until the end of the input.

    Args:
        blind: show letters instead of the contestants' names.
    """
    from rich.console import Console

    unique = list(dict.fromkeys(names))
    shown = letters(unique, random.SystemRandom()) if blind else {name: name for name in unique}
    opened = open_replies(params, unique)
    console = Console()
    fits = console.is_terminal and console.width >= MIN_COLUMN * len(shown)
    chat = Chat(
        {name: opened[contestant] for name, contestant in shown.items()},
        lambda text: print(text, end="", flush=True),
        columns=LiveColumns if fits else None,
        contestants=shown,
    )
    print(f"talk to {', '.join(shown)}; /help lists the commands, /quit ends")
    while True:
        try:
            line = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        try:
            with without_echo(sys.stdin):
                if not chat.handle(line):
                    return
        except LimaError as error:
            print(f"error: {error}")
        except KeyboardInterrupt:
            print("\ninterrupted; /retry for another response")
