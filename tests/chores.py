"""Jobs for workers to do, and to die of: each is a JSON object, and so is its result."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from lima.errors import LimaError
from lima.parallel.jobs import threads


def done(job: str) -> str:
    """Takes its time, or waits until the job `after` has begun; a line in `log` for each time it is begun."""
    words = json.loads(job)
    with Path(words["log"]).open("a") as log:
        log.write(f"{words['name']} {os.getpid()}\n")
    print("what a library prints is no answer")
    time.sleep(words.get("seconds", 0))
    while words.get("after", "") not in Path(words["log"]).read_text():
        time.sleep(0.01)
    if words.get("deaths", 0) >= Path(words["log"]).read_text().split().count(words["name"]):
        os.kill(os.getpid(), signal.SIGKILL)
    if words.get("unreadable"):
        raise LimaError(f"{words['name']} cannot be read")
    if words.get("broken"):
        raise ZeroDivisionError(words["name"])
    if words.get("threads"):
        return json.dumps(threads())
    return json.dumps(sys.stderr.isatty() if words.get("screen") else words["name"])


if __name__ == "__main__":
    from lima.parallel import process_pool

    for event in process_pool.run("chores:done", sys.argv[1:], workers=2, retries=0):
        print(event, flush=True)
