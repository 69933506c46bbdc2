"""The stage scrape, for tests that kill it: `held_parts.py SOURCE` stops in a part while a file says so.

The file `hold` has the number of finished parts after which workers stop, each in a part that it has read and not
published, and write a file `in-part-PID`. They go on when the file `hold` is removed.
"""

import os
import time
from pathlib import Path

from lima.errors import run_command
from lima.sources import shard_cache
from lima.stages import scrape

HOLD = Path("hold")
read = shard_cache._read


def part(line: str) -> str:
    shard_cache._read = read_and_hold
    return scrape.part(line)


def read_and_hold(job, early, working, folder):
    shard = read(job, early, working, folder)
    if HOLD.exists() and len(list(Path(job.store).glob("*/part.json"))) >= int(HOLD.read_text()):
        Path(f"in-part-{os.getpid()}").touch()
        while HOLD.exists():
            time.sleep(0.01)
    return shard


if __name__ == "__main__":
    scrape.WORK = "stages.held_parts:part"
    run_command(scrape.main)
