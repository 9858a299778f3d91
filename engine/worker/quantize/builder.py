"""Builds a quantized checkpoint: calibrate, quantize, save, load it again, and compare with the source.

Owns what happens between the store's lock and its publishing. A record is returned only for a checkpoint that
was loaded and predicts held-out text about as well as its source.
"""

import gc
import time
from pathlib import Path

import torch
from transformers import PreTrainedModel

from engine.checkpoints import store
from engine.config.methods import AutoRound, Awq, BitsAndBytes, Calibrated, Fp8, Gptq, Savable, original
from engine.config.profile import Profile
from engine.config.record import Check, Recipe, Record
from engine.protocol.loading import Staged, Step
from engine.worker import describe
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.demo import require_disk_space
from engine.worker.checkpoints.placement import Placement
from engine.worker.host import memory
from engine.worker.methods import kernels, precision
from engine.worker.progress import Progress, Report
from engine.worker.quantize import calibrate, folders, heldout, layers_alike
from engine.worker.quantize.progress import peak_bytes
from engine.worker.quantize.quantizers import (
    AutoAwqQuantizer,
    AutoGptqQuantizer,
    AutoRoundQuantizer,
    BitsAndBytesQuantizer,
    Fp8Quantizer,
    GptqModelQuantizer,
    Quantizer,
)
from engine.worker.texts import sets

SPARE_BYTES = 64 << 20  # of disk space besides the weights: configs, tokenizer, logs


class CheckpointBuild:
    """The build of one checkpoint."""

    def __init__(
        self, profile: Profile, method: Savable, source: Checkpoint, placement: Placement, widths: list[int]
    ) -> None:
        self._profile, self._method, self._source = profile, method, source
        self._placement, self._widths = placement, widths
        self._tokenizer = source.tokenizer()
        self._window = describe.context_length(source.config)
        self._held_out = heldout.samples(self._tokenizer, self._window)
        self._source_layers: layers_alike.Passed = {}

    def into(self, build: store.Build, recipe: Recipe, report: Report) -> Record:
        """Fill the build's folder; LoadError where the result is broken."""
        started_s = time.monotonic()
        report = _both(report, build)
        memory.reset_peak(self._placement.device)
        self._require_disk_space(build.path)
        samples = self._calibration(report)
        quantizer = self._quantizer(samples)
        with folders.source_folder(self._source, build.path) as folder:
            source = Checkpoint(self._source.name, folder, "folder", self._source.trust_remote_code)
            report(Staged(stage="read", step="load source"))
            result = quantizer.make(source, build.path, self._perplexity(report), report)
            folders.complete(build.path, folder)
        gc.collect()  # the full-precision model
        check, unquantized = self._verdict(quantizer, build.path, result.source_perplexity, report)
        notes = (*self._calibration_notes(samples), heldout.note(check), unquantized)
        return Record(
            recipe=recipe,
            profile=self._profile.name,
            created=store.now(),
            seconds=result.seconds,
            total_seconds=time.monotonic() - started_s,
            peak_bytes=peak_bytes(self._placement.device),
            calibration_tokens=samples.tokens if samples else 0,
            check=check,
            errors=result.errors,
            notes=(*self._source.notes, *result.notes, *notes),
        )

    def _require_disk_space(self, folder: Path) -> None:
        copies = 2 if self._source.kind == "random" else 1
        require_disk_space(folder, copies * folders.weights_bytes(self._source) + SPARE_BYTES)

    def _calibration(self, report: Report) -> calibrate.Samples | None:
        if not isinstance(self._method, Calibrated):
            return None
        asked = self._method.calibration
        report(Staged(stage="quantize", step="calibration text", subject=asked.name))
        texts = sets.texts(asked)
        samples = calibrate.samples(asked, texts, self._tokenizer, self._window)
        return calibrate.of_equal_length(samples) if isinstance(self._method, AutoRound) else samples

    def _calibration_notes(self, samples: calibrate.Samples | None) -> tuple[str, ...]:
        if samples is None or not isinstance(self._method, Calibrated):
            return ()
        widest = max(self._widths)
        return (calibrate.note(samples, self._method.calibration, widest),)

    def _quantizer(self, samples: calibrate.Samples | None) -> Quantizer:
        if isinstance(self._method, BitsAndBytes):
            return BitsAndBytesQuantizer(self._method, self._placement)
        if isinstance(self._method, Fp8):
            return Fp8Quantizer(self._placement)
        token_ids = samples.token_ids if samples else []
        if isinstance(self._method, Awq) and original(self._method):
            return AutoAwqQuantizer(self._method, token_ids, self._placement)
        if isinstance(self._method, AutoRound):
            return AutoRoundQuantizer(self._method, token_ids, self._tokenizer, self._placement)
        if isinstance(self._method, Gptq) and original(self._method):
            return AutoGptqQuantizer(self._method, token_ids, self._placement)
        return GptqModelQuantizer(self._method, token_ids, self._placement)

    def _verdict(
        self, quantizer: Quantizer, folder: Path, before: float, report: Report
    ) -> tuple[Check, str]:
        """The perplexities, and what is not quantized; LoadError where what was written is broken."""
        report(Staged(stage="read", step="load result"))
        made = Checkpoint(self._source.name, folder, "folder", self._source.trust_remote_code)
        if not original(self._method):
            kernels.prepare(made, self._placement, report)
        model = quantizer.load(made)
        precision.require_quantized(model, self._method, self._source.name)
        unquantized = precision.unquantized(model)
        after = self._perplexity(report)(model, self._placement.device, "measure result")
        check = heldout.check(self._held_out, before, after)
        heldout.refuse_broken(check, self._profile.label)
        found = layers_alike.passed(model, self._held_out[0], self._placement.device, self._source_layers)
        layers_alike.require_alike(self._source_layers, found, self._method, self._profile.label)
        return check, unquantized

    def _perplexity(self, report: Report) -> "_Perplexity":
        return _Perplexity(self._held_out, report, self._source_layers)


class _Perplexity:
    """Takes a model's perplexity on the held-out text, with progress; of the source its layers' work, too."""

    def __init__(self, held_out: heldout.Samples, report: Report, layers: layers_alike.Passed) -> None:
        self._held_out, self._report, self._layers = held_out, report, layers

    def __call__(self, model: PreTrainedModel, device: torch.device, step: Step) -> float:
        windows = len(self._held_out)
        progress = Progress(self._report, Staged(stage="quantize", step=step, total=windows, unit="windows"))
        found = heldout.perplexity(model, self._held_out, device, progress.reach)
        if not self._layers:
            self._layers |= layers_alike.passed(model, self._held_out[0], device)
        return found


def _both(report: Report, build: store.Build) -> Report:
    """Report to the user of this process, and to those who wait for it in another."""

    def both(stage: Staged) -> None:
        report(stage)
        build.report(stage)

    return both
