"""How each quantizer turns a folder in full precision into a checkpoint, and loads it to be checked.

A quantizer knows one library. It writes weights and config; what else belongs to a checkpoint comes later.
"""

import gc
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.config.layouts import COMPRESSED
from engine.config.methods import AutoRound, Awq, BitsAndBytes, Checkpointed, Gptq, Rtn
from engine.config.record import ModuleError
from engine.protocol.loading import Staged, Step
from engine.worker.checkpoints import completeness
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement, on_host
from engine.worker.host import memory
from engine.worker.methods import autoawq, autogptq, bitsandbytes, fp8, gptqmodel_api
from engine.worker.progress import Report
from engine.worker.quantize import (
    autoawq_run,
    autogptq_run,
    autoround_run,
    gptqmodel_run,
    group_size,
    w4a16_folder,
)
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


class Quantizer(Protocol):
    """One quantizer with its options."""

    def make(self, source: Checkpoint, into: Path, perplexity: Perplexity, report: Report) -> QuantizeResult:
        """Write the quantized weights; the source's perplexity is measured while it is loaded."""

    def load(self, made: Checkpoint) -> PreTrainedModel:
        """The written checkpoint, as it will be loaded."""


@dataclass(frozen=True, slots=True)
class GptqModelQuantizer:
    """RTN, GPTQ and AWQ through GPTQModel, with calibration samples of token ids."""

    method: Checkpointed
    samples: list[list[int]]
    placement: Placement

    def make(self, source: Checkpoint, into: Path, perplexity: Perplexity, report: Report) -> QuantizeResult:
        """Layer by layer; the model stays on the CPU, the current layer is on the device."""
        device, logs = self.placement.device, into / "logs"
        work = gptqmodel_run.source(source, self.method, self.placement)
        notes = completeness.notes(work.model)
        before = _where_it_fits(work.model, device, perplexity)
        with LayerProgress(report, group_size.layers(source.config), device) as progress:
            errors = gptqmodel_run.quantize(work, self.method, self.samples, progress, logs)
        shutil.rmtree(logs, ignore_errors=True)
        report(Staged(stage="quantize", step="write checkpoint"))
        work.save(str(into))
        if isinstance(self.method, Rtn | Gptq) and self.method.format == COMPRESSED:
            w4a16_folder.rewrite(into)
        return QuantizeResult(before, progress.seconds, errors, notes)

    def load(self, made: Checkpoint) -> PreTrainedModel:
        """With the kernel chosen for it."""
        return gptqmodel_api.load(self.method, made, self.placement)


@dataclass(frozen=True, slots=True)
class AutoAwqQuantizer:
    """AWQ by AutoAWQ, the original code."""

    method: Awq
    samples: list[list[int]]
    placement: Placement

    def make(self, source: Checkpoint, into: Path, perplexity: Perplexity, report: Report) -> QuantizeResult:
        """Layer by layer; the model stays on the CPU, the current layer is on the device."""
        work = autoawq_run.source(source, self.placement)
        notes = completeness.notes(work.model)
        before = _where_it_fits(work.model, self.placement.device, perplexity)
        with LayerProgress(report, group_size.layers(source.config), self.placement.device) as progress:
            autoawq_run.quantize(work, self.method, self.samples, progress)
        report(Staged(stage="quantize", step="write checkpoint"))
        autoawq_run.save(work, into)
        return QuantizeResult(before, progress.seconds, notes=notes)

    def load(self, made: Checkpoint) -> PreTrainedModel:
        """With AutoAWQ too."""
        return autoawq.load(self.method, made, self.placement)


@dataclass(frozen=True, slots=True)
class AutoGptqQuantizer:
    """GPTQ by AutoGPTQ, the original code."""

    method: Gptq
    samples: list[list[int]]
    placement: Placement

    def make(self, source: Checkpoint, into: Path, perplexity: Perplexity, report: Report) -> QuantizeResult:
        """Layer by layer; the model stays on the CPU, the current layer is on the device."""
        work, layers = (
            autogptq_run.source(source, self.method, self.placement),
            group_size.layers(source.config),
        )
        notes = completeness.notes(work.model)
        before = _where_it_fits(work.model, self.placement.device, perplexity)
        with LayerProgress(report, layers, self.placement.device) as progress:
            autogptq_run.quantize(work, self.samples, self.placement, progress, layers)
        report(Staged(stage="quantize", step="write checkpoint"))
        autogptq_run.save(work, into)
        return QuantizeResult(before, progress.seconds, notes=notes)

    def load(self, made: Checkpoint) -> PreTrainedModel:
        """With AutoGPTQ too."""
        return autogptq.load(self.method, made, self.placement)


@dataclass(frozen=True, slots=True)
class AutoRoundQuantizer:
    """AutoRound through the package of that name, written as GPTQ stores."""

    method: AutoRound
    samples: list[list[int]]
    tokenizer: PreTrainedTokenizerBase
    placement: Placement

    def make(self, source: Checkpoint, into: Path, perplexity: Perplexity, report: Report) -> QuantizeResult:
        """Layer by layer; the model stays on the CPU, the current layer is on the device."""
        autoround_run.package()  # before the model is read
        model, device = source.model(on_host(self.placement.dtype)), self.placement.device
        notes = completeness.notes(model)
        before = _where_it_fits(model, device, perplexity)
        work = autoround_run.source(model, self.tokenizer, self.method, self.samples, device)
        with LayerProgress(report, group_size.layers(source.config), device) as progress:
            autoround_run.quantize(work, progress)
        report(Staged(stage="quantize", step="write checkpoint"))
        autoround_run.save(work, into, self.method)
        return QuantizeResult(before, progress.seconds, notes=notes)

    def load(self, made: Checkpoint) -> PreTrainedModel:
        """With the kernel chosen for GPTQ's layout."""
        return gptqmodel_api.load(self.method, made, self.placement)


@dataclass(frozen=True, slots=True)
class BitsAndBytesQuantizer:
    """bitsandbytes through transformers: quantized while it is read, and saved before it is ever used.

    On CPUs with AVX512_BF16 the first forward pass repacks 4-bit weights: they cannot be saved after that.
    """

    method: BitsAndBytes
    placement: Placement

    def make(self, source: Checkpoint, into: Path, perplexity: Perplexity, report: Report) -> QuantizeResult:
        """The source is loaded twice: in full precision to be measured, then quantized."""
        before = perplexity(source.model(self.placement), self.placement.device, "measure source")
        gc.collect()
        report(Staged(stage="quantize", step="quantize while reading"))
        started_s = time.monotonic()
        model = source.model(self.placement, bitsandbytes.config(self.method, self.placement))
        seconds = time.monotonic() - started_s
        model.save_pretrained(into)
        return QuantizeResult(before, seconds, notes=completeness.notes(model))

    def load(self, made: Checkpoint) -> PreTrainedModel:
        """As `stored` does."""
        return made.model(self.placement)


@dataclass(frozen=True, slots=True)
class Fp8Quantizer:
    """The engine's own rounding to FP8, written as compressed-tensors stores it."""

    placement: Placement

    def make(self, source: Checkpoint, into: Path, perplexity: Perplexity, report: Report) -> QuantizeResult:
        """The source is loaded twice: in full precision to be measured, then rounded."""
        before = perplexity(source.model(self.placement), self.placement.device, "measure source")
        gc.collect()
        report(Staged(stage="quantize", step="quantize while reading"))
        started_s = time.monotonic()
        model = fp8.quantized(source, self.placement)
        seconds = time.monotonic() - started_s
        fp8.save(model, into)
        return QuantizeResult(before, seconds, notes=completeness.notes(model))

    def load(self, made: Checkpoint) -> PreTrainedModel:
        """As `stored` does."""
        return fp8.load_stored(made, self.placement)


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
