"""A model quantized layer by layer: what is measured before, the layers' progress, what is reported of it.

The model stays on the CPU, the current layer is on the device. Knows no library that quantizes.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from engine.config.record import ModuleError
from engine.protocol.loading import Staged, Step
from engine.worker.checkpoints import completeness
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.host import memory
from engine.worker.progress import Report
from engine.worker.quantize import group_size
from engine.worker.quantize.progress import LayerProgress

Perplexity = Callable[[PreTrainedModel, torch.device, Step], float]
"""Of a model on a device, as this step of the work."""


@dataclass(frozen=True, slots=True)
class QuantizeResult:
    """What quantizing reports."""

    source_perplexity: float
    seconds: float
    errors: tuple[ModuleError, ...] = ()
    notes: tuple[str, ...] = ()
    """What the user should know about the source."""


class LayerRun:
    """Of one model: its notes and its perplexity are taken at once, where there is memory for that."""

    def __init__(
        self,
        source: Checkpoint,
        model: PreTrainedModel,
        device: torch.device,
        perplexity: Perplexity,
        report: Report,
    ) -> None:
        self._notes = completeness.notes(model)
        self._before = _where_it_fits(model, device, perplexity)
        self._report = report
        self._progress = LayerProgress(report, group_size.layers(source.config), device)

    @contextmanager
    def layers(self) -> Iterator[LayerProgress]:
        """While the layers are quantized; what comes next is that they are written."""
        with self._progress as progress:
            yield progress
        self._report(Staged(stage="quantize", step="write checkpoint"))

    def result(self, errors: tuple[ModuleError, ...] = ()) -> QuantizeResult:
        """What quantizing reports, when all is written."""
        return QuantizeResult(self._before, self._progress.seconds, errors, self._notes)


def _where_it_fits(model: PreTrainedModel, device: torch.device, perplexity: Perplexity) -> float:
    """The source's perplexity, on the device if there is memory for it, on the CPU otherwise.

    Afterwards all of the model is on the CPU, and the device's memory is free.
    """
    found = _if_it_fits(model, device, perplexity)
    model.to("cpu")
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return perplexity(model, torch.device("cpu"), "measure source") if found is None else found


def _if_it_fits(model: PreTrainedModel, device: torch.device, perplexity: Perplexity) -> float | None:
    """None where the device's memory ran out; the model may be half there then."""
    try:
        return perplexity(model.to(device), device, "measure source")
    except Exception as error:
        if device.type == "cpu" or not memory.is_out_of_memory(error):
            raise
        return None
