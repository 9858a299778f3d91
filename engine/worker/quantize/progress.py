"""A quantizer's progress, layer by layer, from the callbacks it makes.

Owns a clock that ticks while a layer takes long. GPTQModel calls `subset_event` and `layer_complete` by name,
from threads of its own too.
"""

import resource
import threading
import time
from types import TracebackType
from typing import Self

import torch

from engine.protocol.loading import Staged
from engine.worker.progress import Report

PARTS = {"forward_start": 0.0, "forward_end": 0.4, "quant_start": 0.4, "quant_complete": 1.0}
TICK_S = 1.0


class LayerProgress:
    """Counts finished layers of `total`; a layer's subsets (q, k, v; o; …) count as its parts."""

    def __init__(self, report: Report, total: int, device: torch.device) -> None:
        self._report, self._total, self._device = report, total, device
        self._reached = 0.0
        self._last_report_s = 0.0
        self._reporting = threading.Lock()
        self._is_over = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="layer progress", daemon=True)

    def __enter__(self) -> Self:
        """Quantizing begins; starts the clock."""
        self._started_s = time.monotonic()
        self._reach(0.0)
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Quantizing ended; `seconds` is final."""
        self.seconds = time.monotonic() - self._started_s
        self._is_over.set()
        self._clock.join()

    def subset_event(
        self, *, stage: str, layer_idx: int, subset_index: int, subset_total: int, **_: object
    ) -> None:
        """A group of a layer's matrices has come this far."""
        part = (subset_index + PARTS.get(stage, 0.0)) / max(1, subset_total)
        self._reach(min(layer_idx + part, layer_idx + 0.99))

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        """A layer is done; `submodule_finalized` when it is packed as well, maybe out of order."""
        if not submodule_finalized:
            self._reach(layer_idx + 1.0)

    def _tick(self) -> None:
        while not self._is_over.wait(TICK_S):
            if time.monotonic() - self._last_report_s >= TICK_S:
                self._reach(self._reached)

    def _reach(self, layers: float) -> None:
        with self._reporting:
            self._reached = max(self._reached, layers)
            self._last_report_s = time.monotonic()
            self._report(
                Staged(
                    stage="quantize",
                    step="quantize layers",
                    done=min(int(self._reached), self._total),
                    total=self._total,
                    unit="layers",
                    peak_bytes=peak_bytes(self._device),
                )
            )


def peak_bytes(device: torch.device) -> int:
    """The peak memory of this process, by a GPU's allocator or by the kernel (resident set)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
