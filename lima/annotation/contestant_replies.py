"""Streamed replies of contestants in live conversations: checkpoints and endpoints, with the decoding of sample."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from lima import config, jsonl, storage
from lima.config import Params
from lima.config.entries import ArmContestant, BaseContestant, EndpointContestant
from lima.errors import LimaError
from lima.evaluation.checkpoint_selection import SelectedCheckpoint
from lima.records import Turn

if TYPE_CHECKING:
    from lima.inference.model import Checkpoint

Reply = Callable[[Sequence[Turn], str, int], Iterator[str]]  # messages, conversation and sample → pieces of a response


def open_replies(params: Params, names: Sequence[str]) -> dict[str, Reply]:
    """The replies of contestants, by name. Checkpoints are loaded at their first reply.

    Raises:
        LimaError: an unknown name, or a contestant that cannot reply.
    """
    return {name: _reply(params, name) for name in names}


def _reply(params: Params, name: str) -> Reply:
    entry = None if is_folder(name) else config.entry(params.contestants, "contestant", name)
    if isinstance(entry, EndpointContestant):
        return _from_endpoint(params, entry)
    return _from_checkpoint(params, checkpoint_folder(params, name))


def _from_endpoint(params: Params, served: EndpointContestant) -> Reply:
    def reply(messages: Sequence[Turn], conversation: str, sample: int) -> Iterator[str]:
        from lima.inference import chat_stream  # imports httpx2

        yield from chat_stream.stream(
            served,
            messages,
            params.sample.decoding,
            conversation=conversation,
            sample=sample,
            timeout=params.annotation.conversations.timeout,
        )

    return reply


def _from_checkpoint(params: Params, folder: Path) -> Reply:
    """One response at a time: concurrent ones of the same checkpoint wait."""
    if not (folder / "config.json").exists():
        raise LimaError(f"{folder} has no checkpoint; {jsonl.writer(folder / 'config.json')}")
    lock = Lock()
    loaded: list[Checkpoint] = []

    def reply(messages: Sequence[Turn], conversation: str, sample: int) -> Iterator[str]:
        from lima.inference import model, streaming  # imports torch and transformers, which takes seconds
        from lima.training import library_output

        decoding = params.sample.decoding
        with lock:
            if not loaded:
                library_output.reduce()
                loaded.append(model.load(folder, precision=decoding.precision))
            yield from streaming.stream_text(loaded[0], messages, decoding, conversation=conversation, sample=sample)

    return reply


def is_folder(name: str) -> bool:
    """Whether a name is the folder of a model in Hugging Face format."""
    return (Path(name) / "config.json").exists()


def checkpoint_folder(params: Params, name: str) -> Path:
    """The folder of a contestant's checkpoint, or of a model in Hugging Face format.

    Raises:
        LimaError: recorded responses, which have no checkpoint; or an unknown name.
    """
    if is_folder(name):
        return Path(name)
    match config.entry(params.contestants, "contestant", name):
        case ArmContestant(arm=arm):
            (chosen,) = jsonl.read(storage.result_dir("select", arm) / "chosen.json", SelectedCheckpoint)
            return Path(chosen.checkpoint)
        case BaseContestant(model=model):
            return storage.result_dir("base", model)
        case other:
            raise LimaError(
                f"contestant {name} is of kind {other.kind}; choose one of kind arm, base or endpoint, or a folder"
            )
