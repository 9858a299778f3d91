"""The folders around a quantization: the source as a folder to read, the result as one that anyone can load.

Owns which files are copied. A quantizer writes weights and configs; tokenizer, chat template and generation
settings are the source's own files, because a quantizer that saves them again changes them.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from engine.shape.weight_files import weight_files
from engine.worker.checkpoints import foreign
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import on_host

SOURCE = "source"  # inside the build's folder, so that it goes when that goes
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
    "generation_config.json",
)


@contextmanager
def source_folder(source: Checkpoint, build: Path) -> Iterator[Path]:
    """The source's folder; random weights are made on the CPU and written into a temporary one."""
    if source.kind != "random":
        with foreign.readable(source) as view:
            yield view.path
        return
    folder = build / SOURCE
    cpu = on_host(source.dtype)
    source.model(cpu).save_pretrained(folder)
    source.tokenizer().save_pretrained(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def complete(result: Path, source: Path) -> None:
    """Replace the result's tokenizer, chat template and generation settings with the source's."""
    for name in COMPANIONS:
        (result / name).unlink(missing_ok=True)
        if (source / name).is_file():
            shutil.copyfile(source / name, result / name)


def weights_bytes(source: Checkpoint) -> int:
    """Size of the source's weights on disk; of random ones, what it would be."""
    if source.kind != "random":
        return sum(file.stat().st_size for file in weight_files(source.path))
    from engine.worker.checkpoints import random_model

    tensors = random_model.tensors(source.config, torch.device("cpu")).values()
    return sum(tensor.shape.numel() * tensor.dtype.itemsize for tensor in tensors)
