"""One served profile at one shape: its requests, and the row they make. Knows no other profile."""

import itertools
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from engine.bench import rows, served_rows
from engine.bench.plan import Settings, Shape, served_work
from engine.bench.rows import Row
from engine.bench.served_rows import Taken
from engine.bench.trial import Open, Part, outside_window
from engine.protocol.failure import Failed
from engine.protocol.runs import ServedAdvanced, ServedAnswer, ServedAnswered, ServedMeasured, ServedRun


class ServedTrial:
    """The requests of a row; after a failure nothing more is asked."""

    def __init__(
        self, side: Open, settings: Settings, shape: Shape, seed: int, tell: Callable[[str], None]
    ) -> None:
        self.side, self.shape = side, shape
        impossible = settings.not_served(shape)
        self.failure = (
            Failed(kind="bad_input", message=impossible)
            if impossible
            else outside_window(side.info, shape.context + settings.steps)
        )
        self.marks: tuple[str, ...] = ()
        self.threads: int | None = None
        self.repeats = settings.served_repeats(shape)
        self._settings, self._tell = settings, tell
        self._seeds = itertools.count(seed)  # no prompt is asked twice
        self._timed: list[Taken] = []

    def before(self) -> Sequence[Part]:
        """What is not on the clock."""
        run = self._settings.served_warm_up(self.shape)
        return (Part("warm-up", served_work(run), lambda: self._asked(run)),)

    def repeat(self, number: int) -> Part:
        """One repeat, or the level."""
        run = self._settings.served_run(self.shape)
        doing = f"repeat {number + 1} of {self.repeats}" if not self.shape.at_once else "asking"
        return Part(doing, served_work(run), lambda: self._time(run))

    def row(self) -> Row:
        """What was measured."""
        row = rows.empty(self.side.name, self.shape, self.side.info)
        if self.failure or not self._timed:
            return rows.failed(row, self.failure or Failed(kind="generation", message="nothing was measured"))
        steps = self._settings.steps
        if self.shape.at_once:
            return served_rows.filled_at_once(row, steps, self._timed[0])
        found = served_rows.filled(row, steps, self._timed)
        return replace(found, marks=(*self.marks, *found.marks))

    async def _time(self, run: ServedRun) -> None:
        if taken := await self._asked(run):
            self._timed.append(taken)

    async def _asked(self, run: ServedRun) -> Taken | None:
        """A run with prompts that were never asked; a failure where none of its answers is whole."""
        answers: list[ServedAnswer] = []
        async for event in self.side.session.measure_served(replace(run, seed=next(self._seeds))):
            match event:
                case ServedAdvanced(done=done):
                    self._tell(f"{done} of {run.requests} answered")
                case ServedAnswered(answer=answer):
                    answers.append(answer)
                case ServedMeasured() if all(answer.failure for answer in answers):
                    self.failure = Failed(kind="generation", message=answers[0].failure)
                case ServedMeasured():
                    return Taken(tuple(answers), event)
                case Failed():
                    self.failure = event
        return None
