import asyncio
import random

import pytest

from lima.errors import LimaError
from lima.inference.adaptive_concurrency import START, AdaptiveLimit


async def round_of(limit, *, overloaded=lambda: False, pause=0.0):
    """Fill all slots, then return them."""
    windows = [await limit.acquire() for _ in range(limit.limit)]
    for window in windows:
        limit.release(window, overloaded=overloaded(), pause=pause)


def test_slow_start_doubles_the_limit_up_to_the_maximum():
    async def run():
        limit, limits = AdaptiveLimit(50), []
        for _ in range(4):
            limits.append(limit.limit)
            await round_of(limit)
        return limits

    assert asyncio.run(run()) == [START, 16, 32, 50]


def test_an_overloaded_window_halves_the_limit_once_and_then_it_grows_by_steps():
    async def run():
        limit = AdaptiveLimit(64)
        for _ in range(3):
            await round_of(limit)
        assert limit.limit == 64
        await round_of(limit, overloaded=lambda: True)  # 64 overloads of one window
        limits = [limit.limit]
        for _ in range(3):
            await round_of(limit)
            limits.append(limit.limit)
        return limits

    # half of 64, then a sixteenth of 64 for each window
    assert asyncio.run(run()) == [32, 36, 40, 44]


def test_a_server_that_is_always_overloaded_gets_one_request_at_a_time():
    async def run():
        limit = AdaptiveLimit(64)
        for _ in range(30):
            await round_of(limit, overloaded=lambda: True)
        return limit.limit

    assert asyncio.run(run()) == 1


def test_random_failures_of_5_percent_leave_the_limit_high():
    async def run():
        limit, rng, limits = AdaptiveLimit(64), random.Random(17), []
        for _ in range(300):
            await round_of(limit, overloaded=lambda: rng.random() < 0.05)
            limits.append(limit.limit)
        return sum(limits) / len(limits)

    assert asyncio.run(run()) > 48


def test_the_limit_approaches_the_capacity_of_a_server():
    async def run():
        limit, limits = AdaptiveLimit(64), []
        for _ in range(200):
            windows = [await limit.acquire() for _ in range(limit.limit)]
            for number, window in enumerate(windows):
                limit.release(window, overloaded=number >= 20)  # the server accepts 20 at a time
            limits.append(limit.limit)
        return limits[20:]

    limits = asyncio.run(run())
    assert max(limits) <= 28
    assert sum(limits) / len(limits) > 12


def test_all_requests_pause_while_an_overloaded_server_asks_to_wait():
    async def run():
        pauses, over = [], asyncio.Event()

        async def pause(seconds):
            pauses.append(seconds)
            await over.wait()

        limit = AdaptiveLimit(8, sleep=pause)
        await round_of(limit, overloaded=lambda: True, pause=0.2)
        waiting = asyncio.ensure_future(limit.acquire())
        await asyncio.sleep(0)
        assert pauses == [0.2] and not waiting.done()
        over.set()
        await waiting

    asyncio.run(run())


def test_slots_are_assigned_in_the_order_of_arrival_and_a_cancelled_request_loses_none():
    async def run():
        limit, order = AdaptiveLimit(1), []

        async def work(number):
            window = await limit.acquire()
            order.append(number)
            await asyncio.sleep(0.01)
            limit.release(window, overloaded=False)

        tasks = [asyncio.ensure_future(work(number)) for number in range(5)]
        await asyncio.sleep(0.001)
        tasks[1].cancel()
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await work(5)
        return order

    assert asyncio.run(run()) == [0, 2, 4, 5]


def test_a_closed_limit_raises_for_waiting_and_later_requests():
    async def run():
        limit = AdaptiveLimit(1)
        await limit.acquire()
        waiting = asyncio.ensure_future(limit.acquire())
        await asyncio.sleep(0)
        limit.close(LimaError("stopped"))
        for request in (waiting, limit.acquire()):
            with pytest.raises(LimaError, match="stopped"):
                await request

    asyncio.run(run())
