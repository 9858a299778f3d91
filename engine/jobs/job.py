"""Long work on its way: done in a task of its own, reported in events, stopped by whoever leaves early.

Owns the driver. Knows neither what is done nor who looks on.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator

from engine.jobs.events import JobEvent
from engine.jobs.sheet import Sheet
from engine.protocol.failure import Failure


class Job(ABC):
    """One run. Its results so far stand whenever one looks, also when `run` is left early."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[JobEvent | None] = asyncio.Queue()

    async def run(self) -> AsyncGenerator[JobEvent]:
        """Do the work, and report how it goes; whoever leaves early stops it, and its workers end."""
        working = asyncio.create_task(self._work())
        working.add_done_callback(lambda _: self._events.put_nowait(None))
        try:
            while (event := await self._events.get()) is not None:
                yield event
            await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    @property
    @abstractmethod
    def sheet(self) -> Sheet:
        """The results so far, to be written; computed at each call."""

    @property
    def failure(self) -> Failure | None:
        """Why there are no results at all."""
        return None

    def emit(self, event: JobEvent) -> None:
        """Pass an event on to whoever looks."""
        self._events.put_nowait(event)

    @abstractmethod
    async def _work(self) -> None:
        """All of it, workers ended included, however it ends."""
