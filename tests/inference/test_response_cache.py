import json
import sqlite3
import threading

import pytest

from lima.chat_types import ChatRequest, ChatResponse
from lima.inference import response_cache
from lima.inference.budget import Amount
from lima.inference.response_cache import CacheError
from lima.records import Turn, Usage

USAGE = Usage(model="m-1", prompt_tokens=3, completion_tokens=1, cost=0.5, seconds=0.2, attempts=2)
REPLY = ChatResponse(text="!", finish="stop", finish_reason="stop", usage=USAGE)


def test_the_cache_key_has_server_request_and_attempt_and_the_cache_is_persistent(tmp_path):
    turns = (Turn(role="user", content="?"),)
    question = ChatRequest(model="m", messages=turns, options={"max_tokens": 9, "seed": 1}, attempt=0)
    with response_cache.open_cache(tmp_path / "calls.sqlite") as kept:
        assert not kept.knows("http://a/v1", "m")
        kept.put("http://a/v1", question, REPLY)
    with response_cache.open_cache(tmp_path / "calls.sqlite") as kept:
        assert kept.get("http://a/v1", question) == REPLY
        assert kept.get("http://a/v1", question.model_copy(update={"options": {"seed": 1, "max_tokens": 9}})) == REPLY
        assert kept.get("http://b/v1", question) is None
        assert kept.get("http://a/v1", question.model_copy(update={"options": {"max_tokens": 9, "seed": 2}})) is None
        assert kept.get("http://a/v1", question.model_copy(update={"attempt": 1})) is None
        assert kept.knows("http://a/v1", "m")
        assert not kept.knows("http://a/v1", "n")


def test_the_cache_contains_no_credentials_of_a_url(tmp_path):
    question = ChatRequest(model="m", messages=(Turn(role="user", content="?"),), options={}, attempt=0)
    url = "https://ann:pa55w0rd@host/v1"
    with response_cache.open_cache(tmp_path / "calls.sqlite") as kept:
        kept.put(url, question, REPLY)
        assert kept.knows(url, "m")
    assert not [path for path in tmp_path.iterdir() if b"pa55w0rd" in path.read_bytes()]


def request(number=0):
    return ChatRequest(model="m", messages=(Turn(role="user", content=f"{number}?"),), options={}, attempt=0)


def reply(text):
    return REPLY.model_copy(update={"text": text})


def test_the_path_is_that_of_the_environment_variable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIMA_CACHE", raising=False)
    assert str(response_cache.path()) == "work/replies.sqlite"
    monkeypatch.setenv("LIMA_CACHE", "elsewhere/shared.sqlite")
    with response_cache.open_cache() as cache:
        cache.put("u", request(), REPLY)
    with response_cache.open_cache(tmp_path / "elsewhere/shared.sqlite") as cache:
        assert cache.get("u", request()) == REPLY


def test_the_first_stored_response_to_a_request_is_kept_and_returned(tmp_path):
    with response_cache.open_cache(tmp_path / "c") as one, response_cache.open_cache(tmp_path / "c") as other:
        assert one.put("u", request(), reply("first")).text == "first"
        assert other.put("u", request(), reply("second")).text == "first"


def test_concurrent_writers_lose_nothing_and_agree(tmp_path):
    """Four connections open a new file at the same time and write the same keys."""
    kept, barrier = {}, threading.Barrier(4)

    def write(name):
        barrier.wait()
        with response_cache.open_cache(tmp_path / "c") as cache:
            kept[name] = [cache.put("u", request(n), reply(f"{name} {n}")).text for n in range(40)]
            for _ in range(40):
                cache.spend("judge", Amount(1, 2, 3, 0.5))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 4
    assert kept[0] == kept[1] == kept[2] == kept[3]
    with response_cache.open_cache(tmp_path / "c") as cache:
        assert cache.spent("judge") == Amount(160, 320, 480, 80.0)


def test_a_writer_waits_for_the_lock_of_another_process(tmp_path):
    with response_cache.open_cache(tmp_path / "c") as cache:
        other = sqlite3.connect(tmp_path / "c", check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        events = []

        def release():
            events.append("released")
            other.rollback()

        timer = threading.Timer(0.3, release)
        timer.start()
        cache.put("u", request(), REPLY)
        assert events == ["released"]
        timer.join()
        other.close()
        assert cache.get("u", request()) == REPLY


def test_a_cache_of_the_first_version_is_migrated(tmp_path, capsys):
    old = sqlite3.connect(tmp_path / "c")
    old.execute(
        "CREATE TABLE replies (digest TEXT PRIMARY KEY, url TEXT, model TEXT, question TEXT, reply TEXT) STRICT"
    )
    answer = {"text": "!", "finish": "stop", "finish_reason": "stop", "tokens": 4}
    row = [response_cache.digest("u", request()), "u", "m", request().model_dump_json(), json.dumps(answer)]
    old.execute("INSERT INTO replies VALUES (?, ?, ?, ?, ?)", row)
    old.commit()
    old.close()
    with response_cache.open_cache(tmp_path / "c") as cache:
        migrated = cache.get("u", request())
        assert cache.knows("u", "m")
    assert (migrated.text, migrated.usage.completion_tokens, migrated.usage.prompt_tokens) == ("!", 4, None)
    assert "migrated 1 cached responses" in capsys.readouterr().err
    with response_cache.open_cache(tmp_path / "c") as cache:
        assert cache.get("u", request()) == migrated
    assert capsys.readouterr().err == ""


def test_a_cache_of_a_later_version_is_an_error(tmp_path):
    with sqlite3.connect(tmp_path / "c") as later:
        later.execute("PRAGMA user_version = 99")
    later.close()
    with (
        pytest.raises(CacheError, match=r"later version of this project \(99, not 1\)"),
        response_cache.open_cache(tmp_path / "c"),
    ):
        pass


def test_a_file_that_is_not_a_cache_is_an_error_with_the_way_out(tmp_path):
    (tmp_path / "c").write_text("not a database " * 100)
    says = r"cannot use the response cache .*/c: file is not a database; .*LIMA_CACHE"
    with pytest.raises(CacheError, match=says), response_cache.open_cache(tmp_path / "c"):
        pass


def test_what_was_spent_is_saved_with_the_next_response(tmp_path):
    with response_cache.open_cache(tmp_path / "c") as one, response_cache.open_cache(tmp_path / "c") as other:
        one.spend("judge", Amount(1, 2, 3, 0.5))
        one.spend("judge", Amount(1, 2, 3, 0.5))
        one.put("u", request(), REPLY)
        assert other.spent("judge") == Amount(2, 4, 6, 1.0)
        other.spend("judge", Amount(1))
        other.flush()
        one.spend("judge", Amount(1))
        one.put("u", request(1), REPLY)
        assert one.spent("judge") == Amount(4, 4, 6, 1.0)


def test_spending_is_counted_by_checkout_and_stage(tmp_path, monkeypatch):
    for checkout in ("a", "b"):
        (tmp_path / checkout).mkdir()
        monkeypatch.chdir(tmp_path / checkout)
        with response_cache.open_cache(tmp_path / "c") as cache:
            assert cache.spent("judge") == Amount()
            cache.spend("judge", Amount(1, 10, 5, 0.25))
            assert cache.spend("judge", Amount(1, 1, 1, 0.25)) == Amount(2, 11, 6, 0.5)
            assert cache.spent("sample") == Amount()
