from lima.parallel import progress
from lima.parallel.jobs import Ended, Reply, Restarted, Started


def reply(words: str) -> Reply:
    return Reply(result=words, error="", user_error=True)


def test_replies_come_in_the_order_of_the_jobs_and_a_restart_is_told(capsys):
    events = [Started(0), Started(1), Ended(1, reply("tea")), Restarted(0, "by SIGKILL"), Started(0)]
    found = progress.follow([*events, Ended(0, reply("beer"))], title="scrape", names=["beer", "tea"], sizes=[3, 0])
    assert [one.result for one in found] == ["beer", "tea"]
    assert "scrape: beer is done again, the worker was killed by SIGKILL" in capsys.readouterr().err
