"""User-facing errors, and how commands report them."""

import errno
import os
import signal
import sys
from collections.abc import Callable

from lima.display import visible

INTERRUPTED = 128 + signal.SIGINT  # the status by which shells report Ctrl-C


class LimaError(Exception):
    """Base class for user-facing errors. Messages name the value, its location and the fix."""

    def __str__(self) -> str:
        return visible(super().__str__())  # escaped: values come from dumps, responses and servers


class Stopped(Exception):
    """The work was ended by a request, such as SIGTERM; it has not failed."""


ADVICE = {  # errno of a file system error → what the user can do
    errno.EACCES: "change its permissions, or run as a user who may read and write it",
    errno.EPERM: "change its permissions, or run as a user who may read and write it",
    errno.ENOENT: "correct the path, or put the file there",
    errno.EISDIR: "it is a folder; name a file, or move the folder away",
    errno.ENOTDIR: "a part of the path is a file; correct the path",
    errno.ENOSPC: "free space on its disk, or set TMPDIR to a folder on a larger one",
    errno.EDQUOT: "free space within the quota, or set TMPDIR to a folder on another disk",
    errno.EROFS: "its file system is read-only; write to another one",
    errno.EIO: "the disk or network file system failed; copy the file again",
    errno.ENAMETOOLONG: "shorten the name",
    errno.EMFILE: "allow more open files (ulimit -n)",
}


def file_fault(error: OSError) -> str | None:
    """Describe a file system error in one line: the path, the problem and the fix. None for any other error."""
    if error.errno not in ADVICE:
        return None
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    location = f"{' → '.join(names)}: " if names else ""
    if "No usable temporary directory" in str(error.strerror):
        return f"{error.strerror}; free space there, or set TMPDIR to a folder with free space"
    return visible(f"{location}{error.strerror}; {ADVICE[error.errno]}")


def run_command(main: Callable[..., None]) -> None:
    """Run `main` with the command-line arguments.

    User-facing errors exit with status 1 and without a traceback, Ctrl-C with status 130.
    """
    try:
        main(*sys.argv[1:])
    except LimaError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if (fault := file_fault(error)) is None:
            raise
        sys.exit(f"error: {fault}")
    except KeyboardInterrupt:
        print("interrupted; the previous result is unchanged", file=sys.stderr)
        sys.exit(INTERRUPTED)
