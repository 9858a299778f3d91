"""Whether the other end of a line still lives: both say something every moment, and a silence ends it.

Silence is counted in beats of one's own clock. A process that was stopped meanwhile has had none, so it takes
nobody else for dead.
"""

import asyncio
from collections.abc import Callable

BEATS = 5  # in the time that is waited
LONGEST_BEAT_S = 1.0  # so that the round trip is that of now


def beat_s(patience_s: float) -> float:
    """How often something is said where a silence of `patience_s` ends a line."""
    return min(LONGEST_BEAT_S, patience_s / BEATS)


async def silence(heard: Callable[[], int], patience_s: float) -> None:
    """Return once what was `heard`, a count that grows, has not grown for so long, or a beat less."""
    before, silent = heard(), 0
    while silent < BEATS - 1:
        await asyncio.sleep(patience_s / BEATS)
        now = heard()
        before, silent = now, 0 if now != before else silent + 1
