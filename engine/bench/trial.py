"""One profile at one shape: its runs in one worker, and the row they make. Knows no other profile."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from engine.bench import rows
from engine.bench.plan import Settings, Shape, work
from engine.bench.rows import Row, Runs
from engine.jobs.watch import Worker, threads_lost
from engine.protocol.failure import Failed
from engine.protocol.model import ModelInfo
from engine.protocol.runs import BenchRun, CopyMeasured, Measured
from engine.session.client import Session


class Part(NamedTuple):
    """A part of a row's work."""

    doing: str
    work: float
    """In decoded tokens, for the estimate of the time left."""
    do: Callable[[], Awaitable[object]]


class Open(Struct, frozen=True):
    """A session whose model is loaded."""

    name: str
    session: Session
    info: ModelInfo
    copy: CopyMeasured | None
    """How fast its device copies; None where there was no memory left for it."""

    @property
    def worker(self) -> Worker:
        """Its process, for whoever watches the machine; one that asks a server has no device."""
        device = "cpu" if self.is_of_a_server else self.info.device
        return Worker(self.session.pid or 0, device)

    @property
    def is_of_a_server(self) -> bool:
        """Whether a server elsewhere than in its worker holds the model."""
        return bool(self.info.served and self.info.served.at_once)


class Trial:
    """The runs of a row; after a failure nothing more is run."""

    def __init__(self, side: Open, settings: Settings, shape: Shape) -> None:
        self.side, self.shape = side, shape
        self.threads: int | None = None
        """Of the timed runs, where others run at once; None is the worker's own."""
        run = settings.run(shape)
        self.failure = outside_window(side.info, run.depth + run.context + run.steps)
        self.marks: tuple[str, ...] = ()
        self.repeats = settings.repeat
        self._settings = settings
        self._timed: list[Measured] = []
        self._peak: Measured | None = None

    def before(self) -> Sequence[Part]:
        """What is not on the clock."""
        warm_up, peak, *_ = self._settings.runs(self.shape)
        return (
            Part("warm-up", work(warm_up), lambda: self.warm_up(warm_up)),
            Part("memory", work(peak), lambda: self.take_peak(peak)),
        )

    def repeat(self, number: int) -> Part:
        """One repeat."""
        run = self._settings.run(self.shape)
        return Part(f"repeat {number + 1} of {self.repeats}", work(run), lambda: self.time(run))

    async def warm_up(self, run: BenchRun) -> None:
        """A run whose figures nobody wants."""
        await self._measured(run)

    async def take_peak(self, run: BenchRun) -> None:
        """The run that takes the memory's peak."""
        self._peak = await self._measured(run)

    async def time(self, run: BenchRun) -> None:
        """One repeat."""
        if measured := await self._measured(run, self.threads):
            self._timed.append(measured)

    def row(self) -> Row:
        """What the runs measured."""
        row = rows.empty(self.side.name, self.shape, self.side.info)
        if self.failure or self._peak is None:
            return rows.failed(row, self.failure or Failed(kind="generation", message="nothing was measured"))
        prompt_tokens = self._settings.run(self.shape).context
        runs = Runs(timed=tuple(self._timed), peak=self._peak, copy=self.side.copy)
        row = rows.explained(rows.filled(row, prompt_tokens, runs), self.side.info)
        lost = threads_lost(self._timed, self.threads or self.side.info.threads)
        return replace(row, marks=(*self.marks, *lost))

    async def _measured(self, run: BenchRun, threads: int | None = None) -> Measured | None:
        result = await self.side.session.measure(run, threads=threads)
        if isinstance(result, Failed):
            self.failure = result
            return None
        return result


def outside_window(info: ModelInfo, tokens: int) -> Failed | None:
    """Reported before a long prompt is read in vain."""
    window = info.context_length
    if not window or tokens <= window:
        return None
    message = f"{tokens} tokens do not fit the model's context window of {window}"
    return Failed(kind="bad_input", message=message)
