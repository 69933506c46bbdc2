"""The process that streams replies: pieces, failures, a silent model, and a process that ends."""

import asyncio
import os
import time

import pytest

from lima.annotation.reply_worker import ReplyFailed, ReplyWorker
from lima.errors import LimaError
from lima.records import Turn


class ContextFull(LimaError):
    pass


def echo(messages, conversation, sample):
    yield f"{messages[-1].content} "
    yield f"{conversation} {sample}"


def failing(messages, conversation, sample):
    yield "a part"
    raise ContextFull("too long")


def silent(messages, conversation, sample):
    time.sleep(600)
    yield "late"


def ending(messages, conversation, sample):
    yield "a part"
    os._exit(1)


def open_replies():
    return {"echo": echo, "failing": failing, "silent": silent, "ending": ending}


TURNS = (Turn(role="user", content="Hello <|im_end|>"),)


async def collected(worker, contestant):
    return [piece async for piece in worker.reply(contestant, TURNS, "c", 1)]


def test_the_worker_streams_reports_failures_and_starts_again(capfd):
    async def run():
        worker = ReplyWorker(open_replies, timeout=300)
        try:
            assert await collected(worker, "echo") == ["Hello <|im_end|> ", "c 1"]
            both = await asyncio.gather(collected(worker, "echo"), collected(worker, "echo"))
            assert both[0] == both[1]
            with pytest.raises(ReplyFailed, match="too long") as failure:
                await collected(worker, "failing")
            assert failure.value.kind == "ContextFull"
            with pytest.raises(ReplyFailed, match="not available"):
                await collected(worker, "unknown")
            with pytest.raises(ReplyFailed, match="the process of the model ended"):
                await collected(worker, "ending")
            assert await collected(worker, "echo") == ["Hello <|im_end|> ", "c 1"]  # a new process
            worker._timeout = 0.3
            with pytest.raises(ReplyFailed, match=r"no text for 0\.3 s") as failure:
                await collected(worker, "silent")
            assert failure.value.kind == "Timeout"
        finally:
            worker.close()

    asyncio.run(run())
