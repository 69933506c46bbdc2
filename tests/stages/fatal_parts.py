"""Jobs of the stage filter whose worker dies: once, after it has judged a part and before it replies."""

import os
import signal
from pathlib import Path

from lima.stages import filter as stage

DIED = Path("work/died")


def part(line: str) -> str:
    result = stage.part(line)
    try:
        DIED.touch(exist_ok=False)
    except FileExistsError:
        return result
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed")
