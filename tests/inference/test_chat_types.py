import asyncio

import pytest

from lima.chat_types import gather_limited
from lima.errors import LimaError


def test_jobs_are_answered_in_their_order_with_so_many_at_a_time():
    working, most = [0], [0]

    async def job(number):
        working[0] += 1
        most[0] = max(most[0], working[0])
        await asyncio.sleep(0.001 * (9 - number))
        working[0] -= 1
        return number

    counted = []
    answers = gather_limited([lambda n=n: job(n) for n in range(9)], concurrency=3, done=lambda: counted.append(1))
    assert asyncio.run(answers) == list(range(9))
    assert most == [3]
    assert len(counted) == 9


def test_the_first_failure_stops_the_other_jobs():
    begun = []

    async def job(number):
        begun.append(number)
        if number == 0:
            raise LimaError("gone")
        await asyncio.sleep(60)

    with pytest.raises(LimaError, match="gone"):
        asyncio.run(gather_limited([lambda n=n: job(n) for n in range(9)], concurrency=3, done=lambda: None))
    assert len(begun) <= 4


def test_jobs_under_way_may_end_after_a_failure_and_no_other_is_begun():
    begun, ended = [], []

    async def job(number):
        begun.append(number)
        await asyncio.sleep({0: 0.01, 1: 0.05, 2: 0.05}.get(number, 60))
        if number == 0:
            raise LimaError("gone")
        ended.append(number)

    with pytest.raises(LimaError, match="gone"):
        asyncio.run(gather_limited([lambda n=n: job(n) for n in range(9)], concurrency=4, done=lambda: None, grace=0.5))
    assert begun == [0, 1, 2, 3]
    assert ended == [1, 2]
