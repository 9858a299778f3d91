"""Repaints are few, and the last one is never lost."""

import asyncio
from itertools import pairwise

from tests.tui.replay import wait_until
from tui.pacer import Pacer

INTERVAL_S = 0.05


async def test_the_first_runs_at_once_and_the_last_in_time() -> None:
    seen: list[int] = []
    pacer = Pacer(INTERVAL_S)
    for number in range(1000):
        pacer.due(lambda number=number: seen.append(number))
    assert seen == [0]
    await wait_until(lambda: len(seen) == 2, "the last one ran")
    assert seen == [0, 999]


async def test_no_more_than_the_interval_allows() -> None:
    times: list[float] = []
    pacer, clock = Pacer(INTERVAL_S), asyncio.get_running_loop().time
    began = clock()
    while clock() - began < 6 * INTERVAL_S:
        pacer.due(lambda: times.append(clock()))
        await asyncio.sleep(0.001)
    gaps = [b - a for a, b in pairwise(times)]
    assert 2 <= len(times) <= 7
    assert min(gaps) > INTERVAL_S * 0.9


async def test_what_was_stopped_does_not_run() -> None:
    seen: list[str] = []
    pacer = Pacer(INTERVAL_S)
    pacer.due(lambda: seen.append("first"))
    pacer.due(lambda: seen.append("stale"))
    pacer.stop()
    pacer.due(lambda: seen.append("fresh"))
    await wait_until(lambda: len(seen) == 2)
    assert seen == ["first", "fresh"]
