"""Parts of a training state: each process writes the tensors that it owns, and the main process waits for all parts.

The threads that write exchange files in the folder of the unfinished state. Collective operations are called by the
main threads only, since those of another thread would be mistaken for operations of training.
"""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from lima import jsonl
from lima.records import Record
from lima.training.checkpoint import CheckpointError

PART_SECONDS = 600.0  # without a new part or a larger file, after which a missing part is an error
SHARED_SECONDS = 10.0  # for which a process looks for the main process's file; network file systems cache names
POLL_SECONDS = 0.05
START = "start.json"  # in the working folder, written at each start


class Start(Record):
    """A start of training; killed and repeated starts differ."""

    id: str


class Part(Record):
    """The files of a state that a process has written, or the reason why it could not."""

    files: dict[str, str]  # SHA-256, hexadecimal, by name
    error: str = ""
    errno: int | None = None  # of an error of the file system


@dataclass(frozen=True)
class Processes:
    """The processes of a start of training."""

    start: str  # id, equal in all processes
    rank: int  # of this process
    hosts: tuple[str, ...]  # names of the nodes by rank

    @property
    def main(self) -> bool:
        return self.rank == 0

    def unfinished(self, folder: Path, number: int) -> Path:
        """Folder of the start's state with this number until it is complete; no other start uses it."""
        return folder / f"unfinished-{self.start}-{number}"

    def stem(self, stem: str) -> str:
        """Beginning of the names of this process's files; without its number if it is the only one."""
        return f"{stem}-process{self.rank:05}" if len(self.hosts) > 1 else stem


def connect(working: Path, accelerator: Accelerator) -> Processes:
    """Agree on the id of a start and check that all processes see the same working folder; every process calls it.

    Raises:
        CheckpointError: A process does not see the file of the main process.
    """
    [start] = broadcast_object_list([uuid4().hex])
    if accelerator.is_main_process:
        jsonl.write(working / START, [Start(id=start)])
    accelerator.wait_for_everyone()
    seen = gather_object([(socket.gethostname(), accelerator.is_main_process or _appears(working / START, start))])
    for process, (host, shared) in enumerate(seen):
        if not shared:
            raise CheckpointError(
                f"the folder of training states is not shared: process {process} on {host} does not see the main "
                f"process's file {working.absolute() / START}; link work/ to a folder that all nodes share (ln -s)"
            )
    return Processes(start, accelerator.process_index, tuple(host for host, _ in seen))


def _appears(path: Path, start: str) -> bool:
    """Whether the file has the start's id, or gets it within SHARED_SECONDS."""
    until = time.monotonic() + SHARED_SECONDS
    while not path.exists() or next(jsonl.read(path, Start)).id != start:
        if time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True


def owners(sizes: Sequence[int], processes: int) -> list[int]:
    """Process that writes each tensor; a process has at most 4/3 of the least possible largest number of bytes.

    Longest processing time first: by falling size, each to the process with the fewest bytes so far.

    Args:
        sizes: Bytes of the tensors.
    """
    owned = [0] * processes
    result = [0] * len(sizes)
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        result[index] = min(range(processes), key=owned.__getitem__)
        owned[result[index]] += sizes[index]
    return result


def publish(folder: Path, processes: Processes, files: dict[str, str]) -> None:
    """Report that this process's files of an unfinished state are on disk."""
    jsonl.write(_path(folder, processes.rank), [Part(files=files)])


@contextmanager
def report_failure(folder: Path, processes: Processes) -> Iterator[None]:
    """Report an error of the block to the main process, whose error it becomes too.

    This process's files are removed first: on a full disk, the report needs their space.
    """
    try:
        yield
    except Exception as error:
        for path in folder.glob(f"*-process{processes.rank:05}-*"):
            path.unlink()
        errno = error.errno if isinstance(error, OSError) else None
        reason = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
        jsonl.write(_path(folder, processes.rank), [Part(files={}, error=reason, errno=errno)])
        raise


def collect(folder: Path, processes: Processes) -> dict[str, str]:
    """Wait for the parts of all processes but the main one; return the digests of their files by name.

    Raises:
        OSError: The file system failed in another process.
        CheckpointError: Another process failed otherwise, or its part is missing and nothing is written any more.
    """
    digests: dict[str, str] = {}
    others = range(1, len(processes.hosts))
    pending = set(others)
    written, changed = -1, 0.0
    while pending:
        for process in [process for process in sorted(pending) if _path(folder, process).exists()]:
            digests |= _files(folder, process, processes.hosts[process])
            pending.remove(process)
            written = -1
        size = sum(_size(path) for path in folder.glob("*.safetensors"))
        if size != written:
            written, changed = size, time.monotonic()
        elif time.monotonic() - changed > PART_SECONDS:
            missing = ", ".join(f"{process} on {processes.hosts[process]}" for process in sorted(pending))
            raise CheckpointError(
                f"missing parts of the training state after {PART_SECONDS:.0f} s without a written byte: of process "
                f"{missing} in {folder}; check that these processes run and that all nodes share the folder"
            )
        if pending:
            time.sleep(POLL_SECONDS)
    for process in others:
        _path(folder, process).unlink()
    return digests


def _files(folder: Path, process: int, host: str) -> dict[str, str]:
    """Digests of a process's files by name."""
    part = next(jsonl.read(_path(folder, process), Part))
    if part.errno is not None:
        raise OSError(part.errno, f"{part.error} (process {process} on {host})")
    if part.error:
        raise CheckpointError(
            f"process {process} on {host} failed to write its part of the training state in {folder}: {part.error}; "
            "see the log of that process"
        )
    return part.files


def _path(folder: Path, process: int) -> Path:
    return folder / f"part-{process:05}.json"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a process that fails removes its files
        return 0
