"""A process that holds the lock of a working folder: `holding.py STAGE KEY`, until its standard input ends.

It says `held` once it holds the lock, or how it was refused. With a third word it starts a child first, by that way.
"""

import multiprocessing
import os
import subprocess
import sys
import time

from lima import storage
from lima.errors import run_command


def stay(running) -> None:
    running.set()
    time.sleep(600)


def main(stage: str, key: str, child: str = "") -> None:
    with storage.exclusive(stage, key):
        if child == "fork":
            forked = multiprocessing.get_context("fork")
            running = forked.Event()
            forked.Process(target=stay, args=(running,)).start()
            running.wait()  # until the child has run the hooks of the fork
        elif child == "exec":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
        print("held", flush=True)
        sys.stdin.read()
        os._exit(0) if child else None


run_command(main)
