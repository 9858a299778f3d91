"""One profile at one shape: its runs in one worker, and the row they make. Knows no other profile."""

from msgspec import Struct
from msgspec.structs import replace

from engine.bench import rows
from engine.bench.plan import Settings, Shape
from engine.bench.rows import Row, Runs
from engine.jobs.watch import Worker, threads_lost
from engine.protocol import BenchRun, CopyMeasured, Failed, Measured, ModelInfo
from engine.session.client import Session


class Open(Struct, frozen=True):
    """A session whose model is loaded."""

    name: str
    session: Session
    info: ModelInfo
    copy: CopyMeasured | None
    """How fast its device copies; None where there was no memory left for it."""

    @property
    def worker(self) -> Worker:
        """Its process, for whoever watches the machine."""
        return Worker(self.session.pid or 0, self.info.device)


class Trial:
    """The runs of a row; after a failure nothing more is run."""

    def __init__(self, side: Open, settings: Settings, shape: Shape) -> None:
        self.side, self.shape = side, shape
        self.threads: int | None = None
        """Of the timed runs, where others run at once; None is the worker's own."""
        self.failure = _outside_window(side.info, settings.run(shape))
        self.marks: tuple[str, ...] = ()
        self._settings = settings
        self._timed: list[Measured] = []
        self._peak: Measured | None = None

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


def _outside_window(info: ModelInfo, run: BenchRun) -> Failed | None:
    """Reported before a long prompt is read in vain."""
    tokens, window = run.depth + run.context + run.steps, info.context_length
    if not window or tokens <= window:
        return None
    message = f"{tokens} tokens do not fit the model's context window of {window}"
    return Failed(kind="bad_input", message=message)
