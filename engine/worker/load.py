"""From a profile to a model in memory: fetch, read or quantize, warm up, with progress.

Owns the order of the stages. Source, method and device have modules of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from msgspec.structs import replace as replace_struct
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.config import formats, runtime
from engine.config.methods import BitsAndBytes, Checkpointed, Fp8, Stored, original
from engine.config.profile import Profile
from engine.config.runtime import CacheDtype
from engine.errors import LoadError
from engine.machine import packages
from engine.protocol.loading import Staged
from engine.protocol.model import ModelInfo
from engine.session.schedule import physical_cores
from engine.worker import describe, environment, failures, methods, progress, step
from engine.worker.checkpoints import (
    completeness,
    foreign,
    generation_settings,
    gguf_reading,
    gguf_settings,
    readable,
)
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.fetch import early_config, fetch
from engine.worker.checkpoints.placement import Placement, place
from engine.worker.host import bandwidth, freeing, thread_count
from engine.worker.methods import gptqmodel_api, kernels, precision
from engine.worker.progress import Report

READERS = {
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "compressed-tensors": "compressed_tensors",
    "bitsandbytes": "bitsandbytes",
}  # by the quant_method that a checkpoint names


@dataclass(slots=True, frozen=True)
class LoadedModel:
    """A model that is ready to answer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    """Where its token ids go."""
    info: ModelInfo
    profile: Profile

    @property
    def cache_dtype(self) -> CacheDtype:
        """How its caches hold keys and values."""
        return self.profile.cache.dtype


@dataclass(slots=True, frozen=True)
class _Wish:
    """The arguments of a load."""

    profile: Profile
    threads: int | None
    report: Report
    native_step: bool


def load(profile: Profile, threads: int | None, report: Report, *, native_step: bool = True) -> LoadedModel:
    """The profile's model, warmed up. LoadError or OutOfMemoryError says why there is none.

    Unless `native_step`, it stays as transformers loads it. Without `threads` their number is measured.
    """
    environment.set_environment()
    torch.set_num_threads(threads or physical_cores())
    # torch's first choice on Hopper, which plans anew for every length of a text, while that is answered.
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        with freeing.tidy(), _checkpoint(profile, report) as (checkpoint, made_for):
            is_gguf = checkpoint.kind == "gguf"
            with gguf_reading.parsed_once(report) if is_gguf else nullcontext():
                return _read(_Wish(profile, threads, report, native_step), checkpoint, made_for)
    except Exception as error:
        raise failures.explained(error, profile) from error


@contextmanager
def _checkpoint(profile: Profile, report: Report) -> Iterator[tuple[Checkpoint, Placement | None]]:
    """What the method reads: the source, or a checkpoint built from it, for this placement."""
    if isinstance(profile.quantization, Checkpointed):
        from engine.worker.quantize import ensure

        yield ensure.ready(profile, report)
        return
    if isinstance(profile.quantization, BitsAndBytes | Fp8):
        from engine.worker.quantize import ensure

        if made := ensure.kept(profile, report):
            yield made
            return
    if isinstance(profile.quantization, Stored):
        _require_reader(profile)
    with foreign.readable(fetch(profile, report)) as checkpoint:
        yield checkpoint, None


def _require_reader(profile: Profile) -> None:
    """LoadError where the package that reads the checkpoint's format is missing: before the download."""
    stored = getattr(early_config(profile), "quantization_config", None) or {}
    how = str(dict(stored).get("quant_method", "")).lower()
    if how:
        formats.require(profile.model.source, how)
    if how in READERS and (lacking := packages.missing(READERS[how])):
        raise LoadError(f"{profile.model.source} is quantized with {how} and {lacking.message}", lacking.hint)


def _read(wish: _Wish, checkpoint: Checkpoint, made_for: Placement | None) -> LoadedModel:
    profile, report = wish.profile, wish.report
    readable.require_kind(checkpoint.config, checkpoint.name)
    step.drop_idle_window(checkpoint.config)
    step.require_cache(checkpoint.config, profile.cache.dtype, checkpoint.name)
    placement = made_for or place(profile.model, checkpoint.dtype)
    compiles = wish.native_step and runtime.reads_cache("compiled", profile.cache.dtype)
    placement = replace(placement, compiles=compiles)
    readable.require_dtype(placement.dtype, checkpoint.name)
    if not original(profile.quantization):
        kernels.prepare(checkpoint, placement, report)
    tokenizer = checkpoint.tokenizer()
    # On a GPU the copy's buffers would take the model's memory, and count in its figures.
    on_gpu = placement.device.type == "cuda"
    copy_bytes_s = bandwidth.quick_copy_speed(placement.device) if on_gpu else None
    method = methods.loader(profile.quantization)
    with progress.of_tensors(report, method.STAGE):
        model = method.load(profile.quantization, checkpoint, placement)
    precision.require_quantized(model, profile.quantization, checkpoint.name)
    left = precision.notes(model, checkpoint.notes)  # before the engine's step takes layers apart
    step.drop_idle_window(model.config)  # which GPTQModel reads for itself
    generation_settings.require_ends(model, checkpoint.name)
    report(Staged(stage="warm up"))
    cache = profile.cache.dtype
    logits = warm_up(model, checkpoint.name, cache)  # before the weights are counted: it may repack them
    if wish.native_step and step.prepare(model, report, cache):
        warm_up(model, checkpoint.name, cache)
    if wish.threads is None and placement.device.type == "cpu":
        thread_count.choose(model, physical_cores())
    freeing.give_back(model)
    checkpoint = replace(checkpoint, notes=(*checkpoint.notes, *left, *_notes(model, checkpoint, profile)))
    description = replace_struct(
        describe.describe(model, tokenizer, profile, checkpoint, placement),
        vocabulary=logits.shape[-1],
        logit_bytes=logits.element_size(),
        copy_bytes_s=copy_bytes_s if on_gpu else bandwidth.quick_copy_speed(placement.device),
    )
    return LoadedModel(model, tokenizer, placement.device, description, profile)


def _notes(model: PreTrainedModel, checkpoint: Checkpoint, profile: Profile) -> tuple[str, ...]:
    """What the user should know about how it was read."""
    is_gguf = checkpoint.kind == "gguf"
    return (
        *gptqmodel_api.notes(model),
        *getattr(model, "reading_notes", ()),  # of the method that read it
        *completeness.notes(model),
        *readable.notes(model),
        *step.notes(model, profile.cache.dtype),
        *(gguf_settings.notes(checkpoint.path, model.config) if is_gguf else ()),
        *generation_settings.notes(model, profile.generation),
    )


def warm_up(model: PreTrainedModel, name: str, cache: CacheDtype = "auto") -> Tensor:
    """A few tokens, and their logits: kernels are chosen, weights repacked, code compiled before any answer.

    On CPUs with AVX512_BF16 it repacks bitsandbytes' 4-bit weights for good: they cannot be saved afterwards.
    """
    with torch.inference_mode():
        logits = readable.require_reading(model, name, cache)
    if logits.is_cuda:
        torch.cuda.synchronize(logits.device)
    return logits
