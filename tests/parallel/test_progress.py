from lima.parallel import progress
from lima.parallel.jobs import Ended, Reply, Restarted, Started


def reply(words: str) -> Reply:
    return Reply(result=words, error="", user_error=True)


def test_replies_are_in_the_order_of_the_jobs_and_a_retry_is_printed(capsys):
    events = [Started(0), Started(1), Ended(1, reply("tea")), Restarted(0, "by SIGKILL"), Started(0)]
    replies = progress.follow([*events, Ended(0, reply("beer"))], title="scrape", names=["beer", "tea"], sizes=[3, 0])
    assert [ended.result for ended in replies] == ["beer", "tea"]
    assert "scrape: beer is retried: its worker was killed by SIGKILL" in capsys.readouterr().err
