"""Exclusive locks between processes (flock). The kernel releases them when the holder ends, even if it is killed."""

import errno
import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from lima.errors import LimaError
from lima.records import Record

UNSUPPORTED = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL))
COMMAND = 200  # maximum characters of a command in an error

_descriptors: dict[Path, int] = {}  # of the lock files that this process holds


class FolderInUse(LimaError):
    """Another process uses the folder. The message names the process and how to end it."""


class Holder(Record):
    """The process that holds a lock: the content of the lock file."""

    pid: int
    host: str
    command: str
    since: str  # local time


@contextmanager
def hold(lock: Path, *, folder: Path) -> Iterator[None]:
    """Hold the lock file `lock`, which protects `folder`; reentrant within a process.

    A forked child does not keep the lock. If the file system does not support locks, a warning is printed.

    Raises:
        FolderInUse: another process holds it.
    """
    lock = lock.absolute()
    if lock in _descriptors:
        yield
        return
    descriptor = _descriptors[lock] = _locked(lock, folder)
    try:
        yield
    finally:
        if _descriptors.pop(lock, None) == descriptor:  # not in a forked child
            lock.unlink(missing_ok=True)
            os.close(descriptor)


def _locked(lock: Path, folder: Path) -> int:
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            content = os.pread(descriptor, 1 << 16, 0)
            os.close(descriptor)
            raise FolderInUse(_refusal(folder, content)) from None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                os.close(descriptor)
                raise
            print(
                f"warning: the file system does not support locks: {lock} ({error.strerror}); "
                f"make sure that no other process uses {folder}",
                file=sys.stderr,
            )
        if _is(descriptor, lock):
            break
        os.close(descriptor)  # the previous holder removed the file after it was opened here
    holder = Holder(
        pid=os.getpid(),
        host=os.uname().nodename,
        command=shlex.join(sys.orig_argv),
        since=f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}",
    )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, holder.model_dump_json().encode(), 0)
    return descriptor


def _is(descriptor: int, path: Path) -> bool:
    """Whether `path` still refers to the open file."""
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())


def holder(lock: Path) -> str | None:
    """Describe the process that holds a lock file; None if none does. The lock is tried and released again."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:  # released in the meantime
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _described(os.pread(descriptor, 1 << 16, 0))
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
    return None


def _described(content: bytes) -> str:
    try:
        process = Holder.model_validate_json(content)
    except ValidationError:  # locked, but not written yet
        return "another process"
    host = "" if process.host == os.uname().nodename else f" on {process.host}"
    return f"process {process.pid}{host} since {process.since} ({process.command[:COMMAND]})"


def _refusal(folder: Path, content: bytes) -> str:
    try:
        holder = Holder.model_validate_json(content)
    except ValidationError:  # locked, but not written yet
        return f"{folder} is in use by another process; wait until it ends and run again"
    here = holder.host == os.uname().nodename
    host = "" if here else f" on {holder.host}"
    return (
        f"{folder} is in use by process {holder.pid}{host} since {holder.since} ({holder.command[:COMMAND]}); "
        f"wait until it ends, or end it with `kill {holder.pid}`{host} (training saves its state first), "
        "and run again"
    )


def _leave_to_parent() -> None:
    """Close a forked child's copies of the descriptors; they would keep the locks after the parent ends."""
    for descriptor in _descriptors.values():
        os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
