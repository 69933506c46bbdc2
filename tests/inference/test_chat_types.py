import asyncio

import pytest

from lima.chat_types import gather_limited
from lima.errors import LimaError


def test_results_are_in_order_and_concurrency_is_limited():
    working, most = [0], [0]

    async def job(number):
        working[0] += 1
        most[0] = max(most[0], working[0])
        await asyncio.sleep(0.001 * (9 - number))
        working[0] -= 1
        return number

    counted = []
    results = gather_limited([lambda n=n: job(n) for n in range(9)], concurrency=3, done=lambda: counted.append(1))
    assert asyncio.run(results) == list(range(9))
    assert most == [3]
    assert len(counted) == 9


def test_the_first_failure_cancels_the_other_jobs():
    started = []

    async def job(number):
        started.append(number)
        if number == 0:
            raise LimaError("gone")
        await asyncio.sleep(60)

    with pytest.raises(LimaError, match="gone"):
        asyncio.run(gather_limited([lambda n=n: job(n) for n in range(9)], concurrency=3, done=lambda: None))
    assert len(started) <= 4


def test_running_jobs_may_end_within_the_grace_period_and_no_other_is_started():
    started, ended = [], []

    async def job(number):
        started.append(number)
        await asyncio.sleep({0: 0.01, 1: 0.05, 2: 0.05}.get(number, 60))
        if number == 0:
            raise LimaError("gone")
        ended.append(number)

    with pytest.raises(LimaError, match="gone"):
        asyncio.run(gather_limited([lambda n=n: job(n) for n in range(9)], concurrency=4, done=lambda: None, grace=0.5))
    assert started == [0, 1, 2, 3]
    assert ended == [1, 2]
