"""A GGUF file as a folder in full precision, unpacked once and kept in the store: what quantizers start from.

Owns the conversion and what is said of it. The store owns the folder, its lock, and its end.
"""

import time
from importlib import metadata
from pathlib import Path

import torch
from msgspec.structs import replace
from transformers import GgufConfig, PreTrainedModel

from engine.checkpoints import store
from engine.config.methods import Gguf
from engine.config.record import Recipe, Record
from engine.shape import gguf_header
from engine.worker import progress
from engine.worker.checkpoints import completeness, foreign, gguf_reading, gguf_settings, identity
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.demo import require_disk_space
from engine.worker.checkpoints.placement import on_host
from engine.worker.host import memory
from engine.worker.progress import Report

DTYPE = torch.bfloat16
PACKAGES = ("gguf", "transformers", "torch")


def folder(file: Path, report: Report) -> Checkpoint:
    """The file's weights in bfloat16; LoadError where it cannot be read as a whole."""
    recipe = Recipe(
        model=identity.of_gguf(file, report),
        dtype=str(DTYPE).removeprefix("torch."),
        method=Gguf(),
        versions={name: metadata.version(name) for name in PACKAGES},
    )
    while True:
        if made := store.find(recipe):
            hint = f"`quantduel store prune {made.path.name}` removes it: then it is unpacked again"
            identity.require_as_made(made.path, made.record, hint, report)
            return Checkpoint(file.name, made.path, "folder", notes=made.record.notes)
        with store.building(recipe, progress.waiting(report)) as build:
            if build is not None:
                record = _unpack(file, build.path, recipe, report)
                content = identity.folder_sha256(build.path, report)
                build.publish(replace(record, content_sha256=content))


def precision(file: Path) -> str:
    """How finely the file's matrices are rounded: `5.0 bits a weight`."""
    matrices = [tensor for tensor in gguf_header.read(file).tensors if len(tensor.shape) > 1]
    bits = 8 * sum(tensor.stored_bytes for tensor in matrices) / sum(tensor.elements for tensor in matrices)
    return f"{bits:.1f} bits a weight"


def _unpack(file: Path, into: Path, recipe: Recipe, report: Report) -> Record:
    started_s = time.monotonic()
    elements = sum(tensor.elements for tensor in gguf_header.read(file).tensors)
    require_disk_space(into, elements * DTYPE.itemsize)
    with foreign.readable(Checkpoint(file.name, file, "gguf")) as source:
        model = _read(source, report)
        model.save_pretrained(into)
        source.tokenizer().save_pretrained(into)
    seconds = time.monotonic() - started_s
    said = f"unpacked to {recipe.dtype} from a GGUF file of {precision(file)}: losses are counted from there"
    return Record(
        recipe=recipe,
        profile=file.name,
        created=store.now(),
        seconds=seconds,
        total_seconds=seconds,
        peak_bytes=memory.peak_resident(),
        notes=(said, *completeness.notes(model), *gguf_settings.notes(file, model.config)),
    )


def _read(source: Checkpoint, report: Report) -> PreTrainedModel:
    cpu = on_host(DTYPE)
    with (
        gguf_reading.parsed_once(report, "unpack GGUF"),
        progress.of_tensors(report, "read", "unpack GGUF"),
    ):
        return source.model(cpu, GgufConfig(dequantize=True))
