"""How far a quantizer is, layer by layer, from the calls it makes on the way.

Owns the arithmetic of what is left. GPTQModel calls `subset_event` and `layer_complete` by name.
"""

import resource
import time

import torch

from engine.protocol import Staged
from engine.units import bytes_text
from engine.worker.progress import Report

PARTS = {"forward_start": 0.0, "forward_end": 0.4, "quant_start": 0.4, "quant_complete": 1.0}


class LayerProgress:
    """Counts finished layers of `total`; a layer's subsets (q, k, v; o; …) count as its parts."""

    def __init__(self, report: Report, total: int, label: str, device: torch.device) -> None:
        self._report, self._total, self._label, self._device = report, total, label, device
        self._started_s = time.monotonic()
        self._layers = 0

    def start(self) -> None:
        """Quantizing begins: the clock too."""
        self._started_s = time.monotonic()
        self._tell(0.0)

    def subset_event(
        self, *, stage: str, layer_idx: int, subset_index: int, subset_total: int, **_: object
    ) -> None:
        """A group of a layer's matrices has come this far."""
        part = (subset_index + PARTS.get(stage, 0.0)) / max(1, subset_total)
        self._tell(layer_idx + min(part, 1.0))

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        """A layer is done; `submodule_finalized` when it is packed as well, maybe out of order."""
        if not submodule_finalized:
            self._layers = max(self._layers, layer_idx + 1)
            self._tell(float(self._layers))

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started_s

    def _tell(self, layers: float) -> None:
        parts = [self._label, f"{_clock(self.seconds)} so far", self._left(layers)]
        parts.append(f"peak {bytes_text(peak_bytes(self._device))}")
        done = min(int(layers), self._total)
        detail = ", ".join(part for part in parts if part)
        self._report(Staged(stage="quantize", done=done, total=self._total, unit="layers", detail=detail))

    def _left(self, layers: float) -> str:
        if layers < 0.5 or layers >= self._total:  # too early to say, or done
            return ""
        return f"about {_clock(self.seconds * (self._total / layers - 1))} left"


def peak_bytes(device: torch.device) -> int:
    """The most memory this process held at once: a GPU's allocator says, or the kernel (resident set)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
