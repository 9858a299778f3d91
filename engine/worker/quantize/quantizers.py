"""How each quantizer turns a folder in full precision into a checkpoint, and loads it to be checked.

A quantizer knows one library. It writes weights and config; what else belongs to a checkpoint comes later.
"""

import gc
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.config.layouts import COMPRESSED
from engine.config.methods import AutoRound, Awq, BitsAndBytes, Checkpointed, Gptq, Rtn
from engine.protocol.loading import Staged
from engine.worker.checkpoints import completeness
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement, on_host
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
from engine.worker.quantize.layer_run import LayerRun, Perplexity, QuantizeResult


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
        work, logs = gptqmodel_run.source(source, self.method, self.placement), into / "logs"
        is_compressed = isinstance(self.method, Rtn | Gptq) and self.method.format == COMPRESSED
        if is_compressed:
            w4a16_folder.require_no_experts(work.model, source.name)
        run = LayerRun(source, work.model, self.placement.device, perplexity, report)
        with run.layers() as progress:
            errors = gptqmodel_run.quantize(work, self.method, self.samples, progress, logs)
        shutil.rmtree(logs, ignore_errors=True)
        work.save(str(into))
        if is_compressed:
            w4a16_folder.rewrite(into)
        return run.result(errors)

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
        run = LayerRun(source, work.model, self.placement.device, perplexity, report)
        with run.layers() as progress:
            autoawq_run.quantize(work, self.method, self.samples, progress)
        autoawq_run.save(work, into)
        return run.result()

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
        work = autogptq_run.source(source, self.method, self.placement)
        run = LayerRun(source, work.model, self.placement.device, perplexity, report)
        with run.layers() as progress:
            autogptq_run.quantize(
                work, self.samples, self.placement, progress, group_size.layers(source.config)
            )
        autogptq_run.save(work, into)
        return run.result()

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
        run = LayerRun(source, model, device, perplexity, report)
        work = autoround_run.source(model, self.tokenizer, self.method, self.samples, device)
        with run.layers() as progress:
            autoround_run.quantize(work, progress)
        autoround_run.save(work, into, self.method)
        return run.result()

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
        before = _before(source, self.placement, perplexity, report)
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
        before = _before(source, self.placement, perplexity, report)
        started_s = time.monotonic()
        model = fp8.quantized(source, self.placement)
        seconds = time.monotonic() - started_s
        fp8.save(model, into)
        return QuantizeResult(before, seconds, notes=completeness.notes(model))

    def load(self, made: Checkpoint) -> PreTrainedModel:
        """As `stored` does."""
        return fp8.load_stored(made, self.placement)


def _before(source: Checkpoint, placement: Placement, perplexity: Perplexity, report: Report) -> float:
    """The source's perplexity in full precision; afterwards it is no longer loaded."""
    found = perplexity(source.model(placement), placement.device, "measure source")
    gc.collect()
    report(Staged(stage="quantize", step="quantize while reading"))
    return found
