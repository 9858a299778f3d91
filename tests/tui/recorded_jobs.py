"""A bench and an evaluation that play recorded ones."""

from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec

from engine.bench import events
from engine.bench.document import Document
from engine.bench.events import BenchEvent, Filled
from engine.bench.run import Bench
from engine.evaluation import events as evaluation_events
from engine.evaluation.events import EvaluationEvent
from engine.evaluation.report import Report
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Settings
from tests.tui.replay import RECORDINGS

FILE = RECORDINGS / "bench.jsonl"


def recorded_document(file: Path = FILE) -> Document:
    """The empty document that the recording began with."""
    return msgspec.json.decode(file.read_bytes().splitlines()[0], type=Document)


def recorded_events(file: Path = FILE) -> list[BenchEvent]:
    """What happened."""
    lines = file.read_bytes().splitlines()[1:]
    named = [msgspec.json.decode(line, type=tuple[str, msgspec.Raw]) for line in lines]
    return [msgspec.json.decode(fields, type=getattr(events, name)) for name, fields in named]


class RecordedBench(Bench):
    """Fills the document as the recorded run did; waits where the test says so."""

    def __init__(self, document: Document) -> None:
        super().__init__(document)
        self.ended = False

    async def run(self) -> AsyncGenerator[BenchEvent]:
        try:
            for event in recorded_events():
                await self.pause(event)
                if isinstance(event, Filled):
                    self.document = self.document.with_row(event.row)
                yield event
        finally:
            self.ended = True

    async def pause(self, event: BenchEvent) -> None:
        """Before each event."""


class RecordedEvaluation(Evaluation):
    """Reports as the recorded run did, moment by moment."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._report = super().report
        self.ended = False

    @property
    def report(self) -> Report:
        return self._report

    async def run(self) -> AsyncGenerator[EvaluationEvent]:
        try:
            for line in (RECORDINGS / "fidelity.jsonl").read_bytes().splitlines():
                name, fields, report = msgspec.json.decode(line, type=tuple[str, msgspec.Raw, Report])
                event = msgspec.json.decode(fields, type=getattr(evaluation_events, name))
                await self.pause(event)
                self._report = report
                yield event
        finally:
            self.ended = True

    async def pause(self, event: EvaluationEvent) -> None:
        """Before each event."""
