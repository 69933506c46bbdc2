"""Errors a user can mend, and how a command tells them."""

import signal
import sys
from collections.abc import Callable

from lima.display import visible

INTERRUPTED = 128 + signal.SIGINT  # the status by which shells report Ctrl-C


class LimaError(Exception):
    """Something a user can mend: its words carry the value, the place and the fix."""

    def __str__(self) -> str:
        return visible(super().__str__())  # values come from dumps, answers and servers


def command(main: Callable[..., None]) -> None:
    """Run `main` on the command line's words; what a user can mend ends it with status 1 and no traceback.

    So does Ctrl-C, with status 130.
    """
    try:
        main(*sys.argv[1:])
    except LimaError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; the older result is unchanged", file=sys.stderr)
        sys.exit(INTERRUPTED)
