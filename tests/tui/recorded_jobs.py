"""A bench and an evaluation that play recorded ones."""

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.bench.document import Document
from engine.bench.run import Bench
from engine.evaluation.report import Report
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Settings
from engine.jobs import events
from engine.jobs.events import Completed, JobEvent
from engine.testing.report import Report as Answers
from engine.testing.run import Exam
from tests.tui.replay import RECORDINGS

FILE = RECORDINGS / "bench.jsonl"
Result = TypeVar("Result", Document, Report)


def recorded_document(file: Path = FILE) -> Document:
    """The empty document that the recording began with."""
    return msgspec.json.decode(file.read_bytes().splitlines()[0], type=Document)


def recorded(lines: list[bytes], result: type[Result]) -> Iterator[tuple[JobEvent, Result | None]]:
    """What was told, and the results at that moment where they had grown."""
    for line in lines:
        name, fields, found = msgspec.json.decode(line, type=tuple[str, msgspec.Raw, result | None])
        yield msgspec.json.decode(fields, type=getattr(events, name)), found


class RecordedBench(Bench):
    """Fills the document as the recorded run did; waits where the test says so."""

    def __init__(self, document: Document) -> None:
        super().__init__(document)
        self.ended = False

    async def run(self) -> AsyncGenerator[JobEvent]:
        try:
            for event, found in recorded(FILE.read_bytes().splitlines()[1:], Document):
                await self.pause(event)
                self.document = found or self.document
                yield event
        finally:
            self.ended = True

    async def pause(self, event: JobEvent) -> None:
        """Before each event."""


class RecordedEvaluation(Evaluation):
    """Reports as the recorded run did, moment by moment."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._report = super().report

    @property
    def report(self) -> Report:
        return self._report

    async def run(self) -> AsyncGenerator[JobEvent]:
        for event, found in recorded((RECORDINGS / "eval.jsonl").read_bytes().splitlines(), Report):
            self._report = found or self._report
            yield event


class RecordedExam(Exam):
    """Is over at once, with the answers of the recorded run."""

    @property
    def report(self) -> Answers:
        return msgspec.json.decode((RECORDINGS / "test.json").read_bytes(), type=Answers)

    async def run(self) -> AsyncGenerator[JobEvent]:
        yield Completed("recorded")
