"""Runs a bench: loads the profiles, measures shape after shape, fills the document, reports progress.

Owns sessions and order. The repeats of a shape go A B, B A, …, so that a drift hits all profiles alike; where
the profiles do not fit into memory together, they come one after the other. One worker works at a time.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from functools import partial

from msgspec.structs import replace

from engine.bench import rows
from engine.bench.checks import checks
from engine.bench.document import Document
from engine.bench.plan import Shape
from engine.bench.rows import Row
from engine.bench.served_trial import ServedTrial
from engine.bench.text import sheet
from engine.bench.trial import Open, Part, Trial
from engine.jobs.events import Advanced, Completed, Noted
from engine.jobs.job import Job
from engine.jobs.pace import Pace
from engine.jobs.sheet import Sheet
from engine.jobs.watch import Watch
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Staged
from engine.protocol.model import Memory, ModelInfo
from engine.protocol.runs import CopyMeasured
from engine.session import schedule
from engine.session.client import Session
from engine.session.progress import stage_text

CONTENDED = "contended: another profile was measured at the same time"
SEEDS = 1 << 20  # between two rows
ALONE = "the profiles do not fit in memory together: they were measured one after the other"

Cell = tuple[Shape, str]
"""A row to be: its shape and its profile."""


class Bench(Job):
    """One bench on its way; `document` holds every row so far, also when `run` is left early."""

    def __init__(self, document: Document, *, self_check: bool = False) -> None:
        super().__init__()
        self.document = document
        self._settings = document.header.settings
        self._levels = self._settings.concurrency
        self._self_check = self_check
        self._profiles = {profile.name: profile for profile in self._settings.profiles}
        self._together = self._settings.schedule != "swap"
        self._open: dict[str, Open] = {}
        self._memory: dict[str, Memory] = {}
        self._unloadable: dict[str, Failed] = {}
        self._pace = Pace()
        self._seed = secrets.randbelow(1 << 30)  # a server may still have the prompts of an earlier bench

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
            self._pace.left = sum(self._work_of(cell) for cell in (*left, *later))
            shape, names = self._next(left)
            await self._load_all(names)
            if len(names) > 1 and not self._together:
                continue
            trials = self._trials(shape, [name for name in names if name in self._open])
            await self._time(trials)
            crowded = [trial for trial in trials if self._is_crowded(trial)]
            if crowded:
                self._part()
            finished = [trial.row() for trial in trials if trial not in crowded]
            for row in (*finished, *self._hopeless(left)):
                left.remove((row.shape, row.profile))
                keep(row)

    def _work_of(self, cell: Cell) -> float:
        shape, name = cell
        return self._settings.row_work(shape, self._profiles[name])

    def _trials(self, shape: Shape, names: Sequence[str]) -> list[Trial | ServedTrial]:
        """A trial for each of these; served ones are asked the same prompts, and none twice."""
        self._seed += SEEDS
        found: list[Trial | ServedTrial] = []
        for side in (self._open[name] for name in names):
            tell = partial(self._tell, f"{side.name}, {shape.text}")
            served = ServedTrial(side, self._settings, shape, self._seed, tell) if side.info.served else None
            found.append(served or Trial(side, self._settings, shape))
        return found

    def _tell(self, what: str, doing: str) -> None:
        self.emit(Advanced(what, doing, self._pace.share, self._pace.left_s))

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

    def _is_crowded(self, trial: Trial | ServedTrial) -> bool:
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
        """Take a loaded model in; its device's copy speed is measured now, once, where it has one."""
        copied = None if info.served else await session.measure_copy()
        copy = copied if isinstance(copied, CopyMeasured) else None
        self._open[name] = Open(name, session, info, copy)
        self.document = self.document.with_model(name, info)

    def _fits_memory(self, name: str) -> bool:
        """Whether one more model as large as the largest loaded one fits next to them, on their device.

        What a server holds takes no memory here.
        """
        new = self._profiles[name]
        known = [other for other in self._open if other in self._memory]
        there = [self._memory[other] for other in known if self._profiles[other].place == new.place]
        return new.is_served or schedule.fits_memory(there)

    async def _close(self, names: Collection[str]) -> None:
        await asyncio.gather(*(self._open.pop(name).session.close() for name in names))

    # measuring

    async def _time(self, trials: Sequence[Trial | ServedTrial]) -> None:
        """Warm-up and memory of each, then the repeats: A B, B A, …"""
        for trial in trials:
            for part in trial.before():
                await self._do(trial, part)
        here = [side.worker for side in self._open.values() if not side.info.host]
        async with Watch(here) as watch:
            for repeat in range(max((trial.repeats for trial in trials), default=0)):
                level = self._levels.index(trials[0].shape.at_once) if self._levels else 0
                order = schedule.order(repeat + level, len(trials))
                await self._repeat(repeat, [trials[index] for index in order], watch)
        shared = self._settings.schedule == "concurrent" and schedule.share_a_device(_infos(trials))
        for trial in trials:
            contended = (CONTENDED,) if shared else ()
            elsewhere = trial.side.info.host or trial.side.is_of_a_server
            seen = () if elsewhere else watch.marks(trial.side.worker)
            trial.marks = (*contended, *seen)

    async def _repeat(self, repeat: int, trials: Sequence[Trial | ServedTrial], watch: Watch) -> None:
        """A timed run of each: in turn, or all at once on their parts of the processor."""
        at_once = asyncio.Semaphore(1)
        if self._settings.schedule == "concurrent":
            at_once = asyncio.Semaphore(len(trials))
            for trial in trials:
                trial.threads = schedule.threads("concurrent", _infos(trials), trial.side.info)

        async def timed(trial: Trial | ServedTrial) -> None:
            async with at_once:
                with watch.left_out() if trial.side.is_of_a_server else nullcontext():
                    await self._do(trial, trial.repeat(repeat))

        await asyncio.gather(*(timed(trial) for trial in trials))

    async def _do(self, trial: Trial | ServedTrial, part: Part) -> None:
        """A part of a trial that has not failed, announced and counted."""
        if trial.failure:
            return
        self._tell(f"{trial.side.name}, {trial.shape.text}", part.doing)
        started_s = time.monotonic()
        await part.do()
        self._pace.add(part.work, time.monotonic() - started_s)


def _infos(trials: Sequence[Trial | ServedTrial]) -> list[ModelInfo]:
    return [trial.side.info for trial in trials]


def _no_memory() -> Failed:
    return Failed(kind="out_of_memory", message="not enough memory next to the other models")
