"""Making a quantized checkpoint: calibrate, quantize, save, load it again, and compare with the source.

Owns what happens between the store's lock and its publishing. A record is returned only for a checkpoint that
was loaded and predicts held-out text about as well as its source.
"""

import gc
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from engine import store
from engine.methods import Packed, Rtn
from engine.profile import Profile
from engine.protocol import Staged
from engine.record import Check, ModuleError, Recipe, Record
from engine.worker import calibrate, calibration_texts, gptqmodel_api, heldout, memory, saved_folder, widths
from engine.worker.checkpoint import Checkpoint
from engine.worker.demo import require_room
from engine.worker.layer_progress import LayerProgress, peak_bytes
from engine.worker.placement import Placement
from engine.worker.progress import Progress, Report

SPARE_BYTES = 64 << 20  # of disk beside the weights: configs, tokenizer, logs


@dataclass(frozen=True, slots=True)
class _Told:
    """What quantizing told."""

    source_perplexity: float
    errors: tuple[ModuleError, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What loading the result told."""

    check: Check
    unquantized: str


class Making:
    """One checkpoint in the making."""

    def __init__(self, profile: Profile, method: Packed, source: Checkpoint, placement: Placement) -> None:
        self._profile, self._method, self._source, self._placement = profile, method, source, placement
        self._tokenizer = source.tokenizer()
        self._window = int(getattr(source.config.get_text_config(), "max_position_embeddings", 0) or 0)
        self._held_out = heldout.samples(self._tokenizer, self._window)

    def into(self, build: store.Build, recipe: Recipe, report: Report) -> Record:
        """Fill the build's folder; LoadError where the result is broken."""
        started_s = time.monotonic()
        tell = _both(report, build)
        memory.reset_peak(self._placement.device)
        self._require_room(build.path)
        samples = self._calibration(tell)
        with saved_folder.of_source(self._source, build.path) as folder:
            told = self._quantize(folder, build.path, samples, tell)
            saved_folder.complete(build.path, folder)
        verdict = self._verdict(build.path, told, tell)
        return Record(
            recipe=recipe,
            profile=self._profile.name,
            created=store.now(),
            seconds=told.seconds,
            total_seconds=time.monotonic() - started_s,
            peak_bytes=peak_bytes(self._placement.device),
            calibration_tokens=samples.tokens if samples else 0,
            check=verdict.check,
            errors=told.errors,
            notes=(*self._calibration_notes(samples), heldout.note(verdict.check), verdict.unquantized),
        )

    def _require_room(self, folder: Path) -> None:
        copies = 2 if self._source.kind == "random" else 1
        require_room(folder, copies * saved_folder.weights_bytes(self._source) + SPARE_BYTES)

    def _calibration(self, tell: Report) -> calibrate.Samples | None:
        if isinstance(self._method, Rtn):
            return None
        asked = self._method.calibration
        tell(Staged(stage="quantize", detail=f"calibration text: {asked.name}"))
        texts = calibration_texts.texts(asked)
        return calibrate.samples(asked, texts, self._tokenizer, self._window)

    def _calibration_notes(self, samples: calibrate.Samples | None) -> tuple[str, ...]:
        if samples is None or isinstance(self._method, Rtn):
            return ()
        widest = max(widths.linear_widths(self._source.config, self._source.trust_remote_code))
        return (calibrate.note(samples, self._method.calibration, widest),)

    def _quantize(self, source: Path, into: Path, samples: calibrate.Samples | None, tell: Report) -> _Told:
        trust, method = self._source.trust_remote_code, self._method
        tell(Staged(stage="read", detail="the source in full precision"))
        work = gptqmodel_api.source(source, method, self._placement, trust)
        with _on(self._placement.device, work.model) as device:
            perplexity = self._perplexity(work.model, device, "the source", tell)
        layers = widths.layers(self._source.config)
        progress = LayerProgress(tell, layers, self._profile.label, self._placement.device)
        progress.start()
        logs = into / "logs"
        errors = gptqmodel_api.quantize(work, method, samples.token_ids if samples else [], progress, logs)
        seconds = progress.seconds
        shutil.rmtree(logs, ignore_errors=True)
        work.save(str(into))
        return _Told(perplexity, errors, seconds)

    def _verdict(self, folder: Path, told: _Told, tell: Report) -> _Verdict:
        """Load what was written, as it will be loaded; LoadError where it is broken."""
        gc.collect()  # the full-precision model
        tell(Staged(stage="read", detail="the result, to check it"))
        kernel = gptqmodel_api.kernel(folder, self._placement)
        model = gptqmodel_api.load(folder, kernel, self._placement, self._source.trust_remote_code)
        perplexity = self._perplexity(model, self._placement.device, "the result", tell)
        check = heldout.check(self._held_out, told.source_perplexity, perplexity)
        heldout.refuse_broken(check, self._profile.label)
        return _Verdict(check, gptqmodel_api.unquantized(model))

    def _perplexity(self, model: PreTrainedModel, device: torch.device, which: str, tell: Report) -> float:
        windows = len(self._held_out)
        progress = Progress(tell, "quantize", windows, "", f"{which} on held-out text")
        return heldout.perplexity(model, self._held_out, device, progress.reach)


def _both(report: Report, build: store.Build) -> Report:
    """Tell the user of this process, and those who wait for it in another."""

    def tell(stage: Staged) -> None:
        report(stage)
        build.report(stage)

    return tell


@contextmanager
def _on(device: torch.device, model: PreTrainedModel) -> Iterator[torch.device]:
    """The model on that device for a while, if it fits there; the device it is on."""
    cpu = torch.device("cpu")
    if device.type == "cpu":
        yield cpu
        return
    try:
        model.to(device)
    except torch.OutOfMemoryError:
        device = cpu
    try:
        yield device
    finally:
        model.to(cpu)
