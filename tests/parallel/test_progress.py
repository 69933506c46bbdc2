import os
import pty
import re
import subprocess
import sys

from lima.parallel import progress
from lima.parallel.jobs import Ended, Reply, Restarted, Started


def reply(words: str) -> Reply:
    return Reply(result=words, error="", user_error=True)


def test_replies_are_in_the_order_of_the_jobs_and_a_retry_is_printed(capsys):
    events = [Started(0), Started(1), Ended(1, reply("tea")), Restarted(0, "by SIGKILL"), Started(0)]
    replies = progress.follow([*events, Ended(0, reply("beer"))], title="scrape", names=["beer", "tea"], sizes=[3, 0])
    assert [ended.result for ended in replies] == ["beer", "tea"]
    assert "scrape: beer is retried: its worker was killed by SIGKILL" in capsys.readouterr().err


PHASE = "import time; from lima.parallel import progress\nwith progress.phase('mix: read'):\n    time.sleep(0.3)\n"


def shown(*, terminal: bool, **variables: str) -> str:
    """The standard error of a process that runs a phase."""
    env = {**os.environ, "TERM": "xterm-256color", **variables}
    master, slave = pty.openpty() if terminal else os.pipe()
    with subprocess.Popen([sys.executable, "-c", PHASE], stderr=slave, env=env) as process:
        os.close(slave)
        text = b""
        while part := read(master):
            text += part
        assert process.wait() == 0
    os.close(master)
    return text.decode()


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux reports the end of a terminal as an error
        return b""


def test_a_phase_is_shown_on_a_terminal_only():
    assert "mix: read" in shown(terminal=True)
    assert shown(terminal=False) == ""


def test_no_color_is_respected():
    colour = re.compile(r"\x1b\[[\d;]*3\d")
    assert colour.search(shown(terminal=True, NO_COLOR=""))
    assert not colour.search(shown(terminal=True, NO_COLOR="1"))
