"""From a profile to a model in memory: fetch, read or quantize, warm up, with progress.

Owns the order of the stages. The source's, the method's and the device's part are in modules of their own.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.methods import Packed, Stored
from engine.profile import Profile
from engine.protocol import ModelInfo, Staged
from engine.schedule import physical_cores
from engine.worker import (
    failures,
    foreign,
    gguf_reading,
    info,
    kernels,
    lean,
    leftovers,
    methods,
    packed_linear,
    progress,
    quiet,
)
from engine.worker.checkpoint import Checkpoint
from engine.worker.fetch import fetch
from engine.worker.placement import place
from engine.worker.progress import Report


@dataclass(slots=True, frozen=True)
class LoadedModel:
    """A model that is ready to answer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    """Where its token ids go."""
    info: ModelInfo
    profile: Profile


def load(profile: Profile, threads: int | None, report: Report) -> LoadedModel:
    """The profile's model, warmed up. LoadError or OutOfMemoryError says why there is none."""
    quiet.set_environment()
    torch.set_num_threads(threads or physical_cores())
    try:
        with _checkpoint(profile, report) as checkpoint:
            is_gguf = checkpoint.kind == "gguf"
            with gguf_reading.parsed_once(report) if is_gguf else nullcontext():
                return _read(profile, checkpoint, report)
    except Exception as error:
        raise failures.explained(error, profile) from error


@contextmanager
def _checkpoint(profile: Profile, report: Report) -> Iterator[Checkpoint]:
    """What the method reads: the source, or for some methods a checkpoint made of it once."""
    if isinstance(profile.quantization, Packed):
        from engine.worker import quantize

        yield quantize.ready(profile, report)
    elif isinstance(profile.quantization, Stored):
        with foreign.readable(fetch(profile, report)) as checkpoint:
            yield checkpoint
    else:
        yield fetch(profile, report)


def _read(profile: Profile, checkpoint: Checkpoint, report: Report) -> LoadedModel:
    placement = place(profile.model, checkpoint.dtype)
    checkpoint = replace(checkpoint, notes=(*checkpoint.notes, *kernels.notes(checkpoint, placement)))
    tokenizer = checkpoint.tokenizer()
    method = methods.loader(profile.quantization)
    with progress.of_tensors(report, method.STAGE):
        model = method.load(profile.quantization, checkpoint, placement)
    report(Staged(stage="warm up"))
    if lean.suits(model):
        packed_linear.pack(model)
    warm_up(model, placement.device)  # before the weights are counted: it may repack them
    leftovers.give_back(model)
    description = info.describe(model, tokenizer, profile, checkpoint, placement)
    return LoadedModel(model, tokenizer, placement.device, description, profile)


def warm_up(model: PreTrainedModel, device: torch.device) -> None:
    """One tiny forward pass: kernels are chosen, packed and compiled now and not in the first answer.

    On CPUs with AVX512_BF16 it repacks bitsandbytes' 4-bit weights for good: they cannot be saved afterwards.
    """
    with torch.inference_mode():
        model(torch.zeros((1, 2), dtype=torch.long, device=device), use_cache=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
