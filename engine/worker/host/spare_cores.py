"""Threads for an answer or a measured run on the CPU, as many as other processes leave cores for.

A token is a hundred short matrix products, and each waits for its slowest thread: one thread that shares its
core makes a token several times as slow, while one thread fewer costs little. Owns the count while one
is running; how many are best on an idle machine is `thread_count`'s. Must not know requests.
"""

import os
import time
from collections.abc import Callable

import torch

from engine.machine.cpu_time import busy_s, used_s
from engine.protocol.answers import BUSY_CORES
from engine.session.schedule import physical_cores

LOOK_S = 0.5  # the kernel counts in hundredths of a second


def others_s() -> float:
    """CPU seconds that all other processes have used."""
    return busy_s() - used_s(os.getpid())


class SpareCores:
    """Sets torch's threads again and again; `fewest` is the least it has set."""

    def __init__(
        self,
        most: int,
        *,
        is_fixed: bool = False,
        cores: int | None = None,
        others_s: Callable[[], float] = others_s,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._cores = most, cores or physical_cores()
        self._is_fixed = is_fixed or most == 1
        self._others_s, self._clock_s = others_s, clock_s
        self._looked_s, self._used_s = clock_s(), others_s()
        self.threads = self.fewest = most
        torch.set_num_threads(most)

    @classmethod
    def for_model(cls, threads: int, device: torch.device, given: int | None) -> "SpareCores":
        """A model's own threads; `given` ones, by whoever divides the cores, and a GPU's are fixed."""
        return cls(given or threads, is_fixed=bool(given) or device.type != "cpu")

    def adjust(self) -> None:
        """Look at the processors, at most twice a second, and take as many threads as cores are free."""
        elapsed_s = self._clock_s() - self._looked_s
        if self._is_fixed or elapsed_s < LOOK_S:
            return
        used_s = self._others_s()
        others = (used_s - self._used_s) / elapsed_s  # processors, on average
        self._looked_s, self._used_s = self._looked_s + elapsed_s, used_s
        self._take(min(self._most, max(1, round(self._cores - others))))

    def between_steps(self, cancelled: Callable[[], bool]) -> Callable[[], bool]:
        """The same question, asked between two steps, with a look at the processors."""

        def asked() -> bool:
            self.adjust()
            return cancelled()

        return asked

    def notes(self) -> tuple[str, ...]:
        """That other processes kept cores busy, where that cost threads."""
        if self.fewest == self._most:
            return ()
        return (f"{BUSY_CORES}: computed on {self.fewest} of {self._most} threads",)

    def _take(self, threads: int) -> None:
        if threads != self.threads:
            torch.set_num_threads(threads)
        self.threads, self.fewest = threads, min(threads, self.fewest)
