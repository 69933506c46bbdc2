"""Errors a user can mend, and how a command tells them."""

import sys
from collections.abc import Callable


class LimaError(Exception):
    """Something a user can mend: its words carry the value, the place and the fix."""


def command(main: Callable[..., None]) -> None:
    """Run `main` on the command line's words; what a user can mend ends it with status 1 and no traceback."""
    try:
        main(*sys.argv[1:])
    except LimaError as error:
        sys.exit(f"error: {error}")
