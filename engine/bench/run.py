"""Runs a bench: loads the profiles, measures shape after shape, fills the document, reports progress.

Owns sessions and order. The repeats of a shape go A B, B A, …, so that a drift hits all profiles alike; where
the profiles do not fit into memory together, they come one after the other. One worker works at a time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from msgspec.structs import replace

from engine.bench import rows
from engine.bench.checks import checks
from engine.bench.document import Document
from engine.bench.plan import Shape, work
from engine.bench.rows import Row
from engine.bench.text import sheet
from engine.bench.trial import Open, Trial
from engine.jobs.events import Advanced, Completed, Noted
from engine.jobs.job import Job
from engine.jobs.pace import Pace
from engine.jobs.sheet import Sheet
from engine.jobs.watch import Watch
from engine.protocol import BenchRun, CopyMeasured, Failed, Loaded, Memory, ModelInfo, Staged
from engine.session import schedule
from engine.session.client import Session
from engine.session.progress import stage_text

CONTENDED = "contended: another profile was measured at the same time"
ALONE = "the profiles do not fit in memory together: they were measured one after the other"

Cell = tuple[Shape, str]
"""A row to be: its shape and its profile."""


class Bench(Job):
    """One bench on its way; `document` holds every row so far, also when `run` is left early."""

    def __init__(self, document: Document, *, self_check: bool = False) -> None:
        super().__init__()
        self.document = document
        self._settings = document.header.settings
        self._self_check = self_check
        self._profiles = {profile.name: profile for profile in self._settings.profiles}
        self._together = self._settings.schedule != "swap"
        self._open: dict[str, Open] = {}
        self._memory: dict[str, Memory] = {}
        self._unloadable: dict[str, Failed] = {}
        self._pace = Pace()

    @property
    def sheet(self) -> Sheet:
        """The document's."""
        return sheet(self.document)

    async def _work(self) -> None:
        """The matrix; with the self-check all of it again, in reverse order."""
        missing = self.document.missing()
        everything = [(shape, name) for shape in self._settings.shapes for name in self._profiles]
        again = everything[::-1] if self._self_check else []
        try:
            await self._matrix(missing, self._keep, later=again)
            if self._self_check:
                await self._check(again)
        finally:
            await self._close(list(self._open))

    async def _check(self, cells: Sequence[Cell]) -> None:
        measured: list[Row] = []

        def keep(row: Row) -> None:
            measured.append(row)
            self.emit(Completed(f"{row.profile}, {row.shape.text}, again"))

        await self._matrix(cells, keep)
        verdicts = checks(self._settings, self.document.rows, measured)
        self.document = replace(self.document, checks=verdicts)
        self.emit(Completed("self-check"))

    def _keep(self, row: Row) -> None:
        self.document = self.document.with_row(row)
        self.emit(Completed(f"{row.profile}, {row.shape.text}"))

    async def _matrix(
        self, cells: Sequence[Cell], keep: Callable[[Row], None], later: Sequence[Cell] = ()
    ) -> None:
        """Measure these cells; those of `later` count as work still to do."""
        left = list(cells)
        while left:
            self._pace.left = sum(self._settings.row_work(shape) for shape, _ in (*left, *later))
            shape, names = self._next(left)
            await self._load_all(names)
            if len(names) > 1 and not self._together:
                continue
            trials = [Trial(self._open[name], self._settings, shape) for name in names if name in self._open]
            await self._time(trials)
            crowded = [trial for trial in trials if self._is_crowded(trial)]
            if crowded:
                self._part()
            finished = [trial.row() for trial in trials if trial not in crowded]
            for row in (*finished, *self._hopeless(left)):
                left.remove((row.shape, row.profile))
                keep(row)

    def _next(self, left: Sequence[Cell]) -> tuple[Shape, list[str]]:
        """A shape and who is measured at it: all, or everything of one profile and then of another."""
        if self._together:
            shape = left[0][0]
            return shape, [name for other, name in left if other == shape]
        loaded = [cell for cell in left if cell[1] in self._open]
        shape, name = (loaded or left)[0]
        return shape, [name]

    def _hopeless(self, left: Sequence[Cell]) -> list[Row]:
        """The rows of profiles that could not be loaded."""
        found = [(shape, name, self._unloadable.get(name)) for shape, name in left]
        return [
            rows.failed(rows.empty(name, shape, None), failure) for shape, name, failure in found if failure
        ]

    def _is_crowded(self, trial: Trial) -> bool:
        """Whether it ran out of memory next to other models: alone it may not."""
        out = trial.failure is not None and trial.failure.kind == "out_of_memory"
        return out and len(self._open) > 1

    def _part(self) -> None:
        """From now on one model at a time."""
        self._together = False
        self.document = self.document.with_note(ALONE)
        self.emit(Noted(ALONE))

    # loading

    async def _load_all(self, names: Sequence[str]) -> None:
        """Load what is not loaded yet; where others take the memory, only some."""
        others = [name for name in self._open if not self._together and name not in names]
        dead = [name for name in self._open if not self._open[name].session.ready]
        await self._close({*others, *dead})
        for name in names:
            if name in self._open or name in self._unloadable:
                continue
            failure = await self._load(name) if self._fits_memory(name) else _no_memory()
            if failure and self._open and failure.kind in {"out_of_memory", "worker_lost"}:
                self._part()
                return
            if failure:
                self._unloadable[name] = failure

    async def _load(self, name: str) -> Failed | None:
        session = Session(self._profiles[name], native_step=self._settings.generator == "engine")
        try:
            async for event in session.load():
                match event:
                    case Staged():
                        self.emit(Advanced(name, stage_text(event)))
                    case Loaded(info=info, memory=memory):
                        await self._opened(name, session, info)
                        if memory is not None:
                            self._memory[name] = memory
                    case Failed():
                        return event
        finally:
            if name not in self._open:
                await session.close()
        return None

    async def _opened(self, name: str, session: Session, info: ModelInfo) -> None:
        """Take a loaded model in; its device's copy speed is measured now, once."""
        copied = await session.measure_copy()
        copy = copied if isinstance(copied, CopyMeasured) else None
        self._open[name] = Open(name, session, info, copy)
        self.document = self.document.with_model(name, info)

    def _fits_memory(self, name: str) -> bool:
        """Whether one more model as large as the largest loaded one fits next to them, on their device."""
        place = self._profiles[name].place
        there = [self._memory[other] for other in self._open if self._profiles[other].place == place]
        return schedule.fits_memory(there)

    async def _close(self, names: Collection[str]) -> None:
        await asyncio.gather(*(self._open.pop(name).session.close() for name in names))

    # measuring

    async def _time(self, trials: Sequence[Trial]) -> None:
        """Warm-up and memory of each, then the repeats: A B, B A, …"""
        for trial in trials:
            warm_up, peak, *_ = self._settings.runs(trial.shape)
            await self._do(trial, "warm-up", trial.warm_up, warm_up)
            await self._do(trial, "memory", trial.take_peak, peak)
        here = [side.worker for side in self._open.values() if not side.info.host]
        async with Watch(here) as watch:
            for repeat in range(self._settings.repeat):
                await self._repeat(repeat, [trials[index] for index in schedule.order(repeat, len(trials))])
        shared = self._settings.schedule == "concurrent" and schedule.share_a_device(_infos(trials))
        for trial in trials:
            contended = (CONTENDED,) if shared else ()
            seen = () if trial.side.info.host else watch.marks(trial.side.worker)
            trial.marks = (*contended, *seen)

    async def _repeat(self, repeat: int, trials: Sequence[Trial]) -> None:
        """A timed run of each: in turn, or all at once on their parts of the processor."""
        doing, at_once = f"repeat {repeat + 1} of {self._settings.repeat}", asyncio.Semaphore(1)
        if self._settings.schedule == "concurrent":
            at_once = asyncio.Semaphore(len(trials))
            for trial in trials:
                trial.threads = schedule.threads("concurrent", _infos(trials), trial.side.info)

        async def timed(trial: Trial) -> None:
            async with at_once:
                await self._do(trial, doing, trial.time, self._settings.run(trial.shape))

        await asyncio.gather(*(timed(trial) for trial in trials))

    async def _do(
        self, trial: Trial, doing: str, step: Callable[[BenchRun], Awaitable[None]], run: BenchRun
    ) -> None:
        """One run of a trial that has not failed, announced and counted."""
        if trial.failure:
            return
        what = f"{trial.side.name}, {trial.shape.text}"
        self.emit(Advanced(what, doing, self._pace.share, self._pace.left_s))
        started_s = time.monotonic()
        await step(run)
        self._pace.add(work(run), time.monotonic() - started_s)


def _infos(trials: Sequence[Trial]) -> list[ModelInfo]:
    return [trial.side.info for trial in trials]


def _no_memory() -> Failed:
    return Failed(kind="out_of_memory", message="not enough memory next to the other models")
