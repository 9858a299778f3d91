"""Watches the machine while something is timed: who else uses processors and GPUs, and what slows them.

Owns the marks on a speed. Knows sessions only as process ids and devices.
"""

import asyncio
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

import psutil
from msgspec import Struct

from engine.machine import gpu_state
from engine.machine.cpu_time import busy_s, used_s
from engine.machine.gpu_state import GpuState
from engine.protocol.runs import Measured

POLL_S = 0.5
BUSY_SHARE = 0.1  # of all processors, used by others
BUSY_PROCESSORS = 0.5  # for a model on the CPU, where a step waits for the thread that was held up
SHORTEST_S = 0.2  # the kernel counts processor time in hundredths of a second


class Worker(Struct, frozen=True):
    """A process of ours and the device its model is on, as torch names it."""

    pid: int
    device: str


class Watch:
    """From entering to leaving; then `marks` says for each worker what spoiled its speeds."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = list(workers)
        self._seen: dict[int, set[str]] = {}  # marks by GPU
        self._places: dict[int, set[int]] = {}  # GPUs by process, where the driver shows it
        self._processors = psutil.cpu_count() or 1
        self._others = 0.0  # processors that others used, on average
        self._poll: asyncio.Task[None] | None = None
        self._servers = 0  # how many answer now

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Meanwhile a server answers, whose processors are nobody else's; time of several counts once."""
        if not self._servers:
            self._began_s, self._before_servers = time.monotonic(), self._others_s()
        self._servers += 1
        try:
            yield
        finally:
            self._servers -= 1
            if not self._servers:
                self._started_s += time.monotonic() - self._began_s
                self._before += self._others_s() - self._before_servers

    async def __aenter__(self) -> "Watch":
        self._started_s, self._before = time.monotonic(), self._others_s()
        if any(worker.device != "cpu" for worker in self._workers):
            self._poll = asyncio.create_task(self._look_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed_s = time.monotonic() - self._started_s
        if elapsed_s >= SHORTEST_S:
            self._others = (self._others_s() - self._before) / elapsed_s
        if self._poll:
            self._poll.cancel()
            await asyncio.gather(self._poll, return_exceptions=True)

    def marks(self, worker: Worker) -> tuple[str, ...]:
        """What spoiled this worker's speeds, in words; a busy processor slows models on GPUs too."""
        is_busy = self._others > busy_processors(worker.device, self._processors)
        busy = [f"busy CPU: others {self._others / self._processors:.0%}"] if is_busy else []
        return (*busy, *sorted({mark for gpu in self._gpus(worker) for mark in self._seen.get(gpu, ())}))

    def _others_s(self) -> float:
        """Processor seconds used so far by everybody but us."""
        return busy_s() - sum(map(used_s, (os.getpid(), *(worker.pid for worker in self._workers))))

    async def _look_on(self) -> None:
        while True:
            for state in await asyncio.to_thread(gpu_state.states):
                self.note(state)
            await asyncio.sleep(POLL_S)

    def note(self, state: GpuState) -> None:
        """What one look at a device shows."""
        pids = [worker.pid for worker in self._workers]
        for pid in {*pids} & {*state.pids}:
            self._places.setdefault(pid, set()).add(state.index)
        marks = self._seen.setdefault(state.index, set())
        own_here = sum(state.index in self._gpus(worker) for worker in self._workers)
        if gpu_state.foreign(state, pids, own_here):
            marks.add("another process on the GPU")
        marks.update(f"clocks throttled: {word}" for word in state.slowdowns)

    def _gpus(self, worker: Worker) -> Collection[int]:
        """NVML's indices: where the driver shows the process, else torch's index, else (split) all."""
        kind, _, index = worker.device.partition(":")
        if kind == "cpu":
            return ()
        return self._places.get(worker.pid) or ([int(index)] if index else list(self._seen))


def threads_lost(runs: Iterable[Measured], most: int) -> tuple[str, ...]:
    """That the worker gave threads back to others, where it did."""
    fewest = min((run.threads for run in runs), default=most)
    return (f"on {fewest} of {most} threads",) if fewest < most else ()


def busy_processors(device: str, processors: int) -> float:
    """Processors that others may use unmarked: a tenth; next to a model on the CPU, half of one at most."""
    share = BUSY_SHARE * processors
    return min(share, BUSY_PROCESSORS) if device == "cpu" else share
