"""`lima chat`: commands, conversations of several contestants, and streamed decoding."""

import contextlib
import json
import os
import random
import select
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lima.annotation.contestant_replies import checkpoint_folder, open_replies
from lima.annotation.terminal_chat import Chat, ChatError, letters, without_echo
from lima.config.sections import Decoding
from lima.errors import LimaError
from lima.records import Turn

LAPTOP = Path(__file__).parents[2] / "lima/config/profiles/laptop.yaml"


def echo(messages, conversation, sample):
    yield f"{len(messages)} turns, "
    yield f"sample {sample}\x1b[0m"


@pytest.fixture
def chat():
    written = []
    made = Chat({"one": echo, "two": echo}, written.append)
    made.written = written
    return made


def contents(chat, name="one"):
    return [turn.content for turn in chat.messages(name)]


def test_every_contestant_answers_and_control_characters_are_shown(chat):
    assert chat.handle("Hello")
    assert "".join(chat.written) == "one: 1 turns, sample 0\\x1b[0m\ntwo: 1 turns, sample 0\\x1b[0m\n"
    chat.handle("And?")
    assert contents(chat) == ["Hello", "1 turns, sample 0\x1b[0m", "And?", "3 turns, sample 0\x1b[0m"]


def test_retry_replaces_the_last_response(chat):
    with pytest.raises(ChatError, match="no response to repeat"):
        chat.handle("/retry")
    chat.handle("Hello")
    chat.handle("/retry")
    assert contents(chat) == ["Hello", "1 turns, sample 1\x1b[0m"]


def test_a_system_turn_starts_a_new_conversation(chat):
    chat.handle("Hello")
    chat.handle("/system Be brief.")
    assert contents(chat) == ["Be brief."]
    chat.handle("Hello")
    chat.handle("/reset")
    assert contents(chat) == ["Be brief."]


def test_saved_conversations_can_be_read_as_dialogues(chat, tmp_path):
    from lima.sources.base import ReadStats
    from lima.sources.hand_written import Written, rows

    chat.handle("/system Be brief.")
    chat.handle("Hello")
    path = tmp_path / "dialogues" / "chat.jsonl"
    chat.handle(f"/save {path}")
    chat.handle(f"/save {path}")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["chat-1", "chat-2", "chat-3", "chat-4"]
    assert all(line["note"].endswith("; system turn: Be brief.") for line in lines)
    shared = [{name: line[name] for name in ("id", "messages")} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in shared))
    read = list(rows(path.parent, Written, tally=ReadStats()))
    assert [row.messages[0].content for _, row, _ in read] == ["Hello"] * 4


def test_a_failed_contestant_is_asked_again_alone():
    failures = [LimaError("server down"), None]

    def failing(messages, conversation, sample):
        if (failure := failures.pop(0)) is not None:
            raise failure
        yield f"sample {sample}"

    written = []
    chat = Chat({"one": echo, "two": failing}, written.append)
    chat.handle("Hello")
    assert "two: \nerror: server down; /retry asks again\n" in "".join(written)
    with pytest.raises(ChatError, match="no response of two yet; /retry asks again"):
        chat.handle("Next")
    before = contents(chat, "one")
    chat.handle("/retry")
    assert contents(chat, "one") == before and contents(chat, "two") == ["Hello", "sample 1"]


def test_hidden_contestants_appear_only_after_reveal():
    def failing(messages, conversation, sample):
        raise LimaError("zebra-system is down")
        yield ""

    shown = letters(["zebra-system", "quokka-system"], random.Random(1))
    assert sorted(shown) == ["A", "B"] and sorted(shown.values()) == ["quokka-system", "zebra-system"]
    assert {tuple(letters(["x", "y"], random.Random(n)).values()) for n in range(9)} == {("x", "y"), ("y", "x")}
    written = []
    chat = Chat({"A": echo, "B": failing}, written.append, contestants=shown)
    chat.handle("Hello")
    assert "B: \nerror: no response; /retry asks again" in "".join(written)
    assert not any(name in "".join(written) for name in shown.values())
    chat.handle("/reveal")
    assert all(name in written[-1] for name in shown.values())


def test_several_contestants_are_shown_side_by_side():
    frames = []

    @contextlib.contextmanager
    def columns():
        yield lambda texts: frames.append(dict(texts))

    chat = Chat({"one": echo, "two": echo}, lambda text: None, columns=columns)
    chat.handle("Hello")
    assert frames[0] == {"one": "…", "two": "…"}
    assert frames[1] == {"one": "1 turns, ", "two": "1 turns, "}  # both are written at the same time
    assert frames[-1] == {"one": "1 turns, sample 0\\x1b[0m", "two": "1 turns, sample 0\\x1b[0m"}
    assert contents(chat, "one") == contents(chat, "two") == ["Hello", "1 turns, sample 0\x1b[0m"]


def test_an_endpoint_can_chat(tmp_path, monkeypatch):
    from chat_server import Sent, serving

    from lima import config

    monkeypatch.chdir(tmp_path)
    values = YAML().load(LAPTOP)
    event = json.dumps({"choices": [{"delta": {"content": "Hi"}}]})
    with serving(lambda body, number: Sent(body=f"data: {event}\n\ndata: [DONE]\n\n")) as server:
        served = {"kind": "endpoint", "url": server.url, "model": "m", "key_variable": "", "reads": "x"}
        values["contestants"]["served"] = served
        YAML().dump(values, tmp_path / "params.yaml")
        replies = open_replies(config.load(), ["served"])
        assert list(replies["served"]([Turn(role="user", content="Hello")], "chat", 0)) == ["Hi"]


def test_special_tokens_that_a_person_types_are_text(tmp_path):
    from lima.inference.model import load, render
    from lima.inference.streaming import PLACE
    from lima.records import Prompt
    from tests.tiny_model import save

    tokenizer = load(save(tmp_path / "model"), precision="fp32").tokenizer
    special = set(tokenizer.all_special_ids)

    def tokens(text):
        prompt = Prompt(id="p", messages=(Turn(role="user", content=text),), tags=(), provenance=PLACE)
        return [token for token in render(tokenizer, prompt) if token in special]

    assert tokens(f"Hello {tokenizer.eos_token}") == tokens("Hello")


@pytest.mark.parametrize("line", ["/unknown", "/save", "/save x.jsonl"])
def test_impossible_commands_say_why(chat, line):
    with pytest.raises(ChatError, match="; "):
        chat.handle(line)


def test_quit_ends_the_conversation(chat):
    assert chat.handle("") and chat.handle("/help") and not chat.handle("/quit")


def test_only_checkpoints_can_chat(tmp_path, monkeypatch):
    from lima import config

    monkeypatch.chdir(tmp_path)
    YAML().dump(YAML().load(LAPTOP), tmp_path / "params.yaml")
    params = config.load()
    assert checkpoint_folder(params, "base") == Path("data/base/smollm2-135m")
    with pytest.raises(LimaError, match="contestant authors is of kind recorded; choose"):
        checkpoint_folder(params, "authors")


@pytest.mark.parametrize("sample", [0, 1])
def test_streamed_tokens_are_those_of_the_stage_sample(tmp_path, sample):
    from lima.inference.generate import GenerationRequest, sampled
    from lima.inference.model import load, render
    from lima.inference.streaming import PLACE, stream_text, stream_tokens
    from lima.records import Prompt
    from tests.tiny_model import save

    checkpoint = load(save(tmp_path / "model"), precision="fp32")
    decoding = Decoding(
        top_p=0.9, temperature=0.7, repetition_penalty=1.2, max_tokens=20, batch_size=1, precision="fp32", seed=3
    )
    turns = (Turn(role="user", content="Hello, who are you?"),)
    prompt = Prompt(id="chat/1", messages=turns, tags=(), provenance=PLACE)
    row = GenerationRequest(prompt, sample, render(checkpoint.tokenizer, prompt))
    ((expected, _),) = sampled(checkpoint, [row], decoding)
    assert list(stream_tokens(checkpoint, row, decoding)) == expected and len(expected) > 3
    pieces = list(stream_text(checkpoint, turns, decoding, conversation="chat", sample=sample))
    assert "".join(pieces) == checkpoint.tokenizer.decode(expected, skip_special_tokens=True) and len(pieces) > 1


def test_typed_text_is_not_shown_while_a_response_is_drawn_and_is_kept():
    keyboard, terminal = os.openpty()
    with open(terminal) as stdin, open(keyboard, "r+b", buffering=0) as person:  # noqa: PTH123 - descriptors
        with pytest.raises(KeyboardInterrupt), without_echo(stdin):
            person.write(b"next question\n")
            assert select.select([stdin], [], [], 60)[0]  # the kernel echoes a line when it makes it readable
            raise KeyboardInterrupt
        assert stdin.readline() == "next question\n"
        person.write(b"shown\n")
        assert person.read(100) == b"shown\r\n"
