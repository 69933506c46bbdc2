from lima.chat_types import ChatRequest, ChatResponse
from lima.inference import response_cache
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
