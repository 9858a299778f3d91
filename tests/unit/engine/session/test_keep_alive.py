"""A silence is counted in beats of one's own clock."""

import asyncio

import pytest

from engine.session import keep_alive


async def test_a_silence_ends_the_wait_and_something_heard_puts_it_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    heard = iter([0, 1, 2, 3, *[3] * 10])
    await keep_alive.silence(lambda: next(heard), 5.0)
    assert slept == [1.0] * (3 + keep_alive.BEATS - 1)  # three beats in which something came
    assert keep_alive.beat_s(60) == keep_alive.LONGEST_BEAT_S
    assert keep_alive.beat_s(1.0) == 0.2
