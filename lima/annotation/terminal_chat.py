"""`lima chat`: a conversation with one or several checkpoints in the terminal, streamed (LIMA §6)."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lima import config, jsonl, storage
from lima.config import Params
from lima.config.entries import ArmContestant, BaseContestant
from lima.display import visible
from lima.errors import LimaError
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.records import Turn

Reply = Callable[[Sequence[Turn], int], Iterator[str]]  # messages and sample → pieces of the response
HELP = (
    "/system TEXT  set the system turn and start again\n"
    "/retry        another response to the last message\n"
    "/reset        start again\n"
    "/save FILE    append the conversation to a JSONL file, in the form of corpus/dialogues\n"
    "/quit         end"
)


class ChatError(LimaError):
    """A command that cannot be carried out."""


class Chat:
    """The same user turns for every contestant; each continues with its own responses.

    Args:
        replies: by contestant.
        write: prints a piece of text.
    """

    def __init__(self, replies: Mapping[str, Reply], write: Callable[[str], object]) -> None:
        self._replies = replies
        self._write = write
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
            case "/save":
                self._save(argument)
            case _ if command.startswith("/"):
                raise ChatError(f"unknown command: {command}; /help lists the commands")
            case _:
                self._sample = 0
                for messages in self._messages.values():
                    messages.append(Turn(role="user", content=line.strip()))
                self._answer()
        return True

    def messages(self, name: str) -> list[Turn]:
        """The turns of a contestant, the system turn included."""
        return [*([self._system] if self._system else []), *self._messages[name]]

    def _start(self, system: Turn | None) -> None:
        self._system = system
        self._sample = 0
        for messages in self._messages.values():
            messages.clear()

    def _retry(self) -> None:
        if not any(self._messages.values()):
            raise ChatError("no response to repeat; write a message first")
        self._sample += 1
        for messages in self._messages.values():
            if messages and messages[-1].role == "assistant":
                messages.pop()
        self._answer()

    def _answer(self) -> None:
        for name, reply in self._replies.items():
            self._write(f"{name}: ")
            pieces = []
            for piece in reply(self.messages(name), self._sample):
                pieces.append(piece)
                self._write(visible(piece))
            self._write("\n")
            self._messages[name].append(Turn(role="assistant", content="".join(pieces)))

    def _save(self, argument: str) -> None:
        if not argument:
            raise ChatError("/save needs a file; write /save FILE.jsonl")
        if not any(self._messages.values()):
            raise ChatError("no conversation to save; write a message first")
        path = Path(argument)
        known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps(
                {
                    "id": f"chat-{len(known) + number}",
                    "group": "A",
                    "topic": "chat",
                    "kind": "dialogue",
                    "sensitive": False,
                    "note": f"conversation with {name}",
                    "messages": [turn.model_dump() for turn in self.messages(name)],
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


def checkpoint_folder(params: Params, name: str) -> Path:
    """The folder of a contestant's checkpoint, or of a model in Hugging Face format.

    Raises:
        LimaError: an endpoint or recorded responses, which have no checkpoint; or an unknown name.
    """
    if (Path(name) / "config.json").exists():
        return Path(name)
    match config.entry(params.contestants, "contestant", name):
        case ArmContestant(arm=arm):
            (chosen,) = jsonl.read(storage.result_dir("select", arm) / "chosen.json", SelectedCheckpoint)
            return Path(chosen.checkpoint)
        case BaseContestant(model=model):
            return storage.result_dir("base", model)
        case other:
            raise LimaError(f"contestant {name} is of kind {other.kind}; choose one of kind arm or base, or a folder")


def run(params: Params, names: Sequence[str]) -> None:
    """Read messages from the terminal until the end of the input."""
    from lima.inference import model
    from lima.inference.streaming import stream_text

    folders = {name: checkpoint_folder(params, name) for name in names}
    decoding = params.sample.decoding

    def reply(checkpoint: model.Checkpoint) -> Reply:
        return lambda messages, sample: stream_text(checkpoint, messages, decoding, conversation="chat", sample=sample)

    loaded = {name: reply(model.load(folder, precision=decoding.precision)) for name, folder in folders.items()}
    chat = Chat(loaded, lambda text: print(text, end="", flush=True))
    print(f"{', '.join(loaded)}; /help lists the commands")
    while True:
        try:
            line = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        try:
            if not chat.handle(line):
                return
        except LimaError as error:
            print(f"error: {error}")
        except KeyboardInterrupt:
            print("\ninterrupted; /retry for another response")
