"""The driver of long runs: events as they come, and an end in whatever way."""

import asyncio
from contextlib import aclosing

import pytest

from engine.jobs.events import Completed, JobEvent
from engine.jobs.job import Job
from engine.jobs.sheet import Sheet


class Counting(Job):
    """Counts, until it is stopped or breaks."""

    def __init__(self, breaks_at: int | None = None) -> None:
        super().__init__()
        self.counted, self.has_ended = 0, False
        self._breaks_at = breaks_at

    @property
    def sheet(self) -> Sheet:
        return Sheet(document=self.counted)

    async def _work(self) -> None:
        try:
            while self.counted != self._breaks_at:
                self.counted += 1
                self.emit(Completed(str(self.counted)))
                await asyncio.sleep(0)
            raise RuntimeError("broken")
        finally:
            self.has_ended = True


async def test_whoever_leaves_early_ends_the_work_and_keeps_the_results() -> None:
    job = Counting()
    async with aclosing(job.run()) as events:
        async for event in events:
            if event == Completed("3"):
                break
    assert job.has_ended and job.sheet.document == job.counted >= 3 and job.failure is None


async def test_what_breaks_the_work_reaches_whoever_looks_after_what_was_reported() -> None:
    job, reported = Counting(breaks_at=2), list[JobEvent]()
    with pytest.raises(RuntimeError, match="broken"):
        async for event in job.run():
            reported.append(event)
    assert reported == [Completed("1"), Completed("2")] and job.has_ended
