"""Gives back the host memory that loading needed and the model does not: otherwise 4 bits take more than 16.

Owns three remedies: a checkpoint file that is mapped for the sake of a few tensors is let go, pages of such a
file that nobody reads any more leave the resident set, and the C library is asked for its free blocks. Must
not change any value. They work on Linux alone and do nothing elsewhere.
"""

import ctypes
import gc
import mmap
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from engine.worker.host import heap

_WORTH_KEEPING = 0.5  # share of a mapped file that the model must use


def give_back(model: nn.Module) -> None:
    """Call it once, after loading. GPUs are not touched."""
    if sys.platform != "linux":
        return
    tensors = list(chain(model.parameters(), model.buffers()))
    for file in _mapped_files():
        _let_go(file, [tensor for tensor in tensors if _address(tensor) in file])
    gc.collect()
    heap.trim()


def forget(tensors: Sequence[torch.Tensor]) -> None:
    """Let pages of mapped checkpoint files go whose tensors were copied elsewhere; read again they come back.

    Only whole pages that lie inside a tensor.
    """
    if sys.platform != "linux" or not tensors:
        return
    libc, files = ctypes.CDLL(None), _mapped_files()
    for tensor in tensors:
        begin = _address(tensor)
        first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (begin + tensor.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
        if length > 0 and any(begin in file for file in files):
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


def _address(tensor: torch.Tensor) -> int:
    """Of the tensor's data; 0 for one that is a facade for others, as torchao's are."""
    try:
        return tensor.data_ptr()
    except RuntimeError:  # "doesn't have storage"
        return 0


def _mapped_files() -> list[range]:
    """The addresses of every checkpoint file that is mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split(maxsplit=1)[0].split("-") for line in lines if line.endswith(".safetensors")]
    return [range(int(first, 16), int(last, 16)) for first, last in spans]


def _let_go(file: range, tensors: list[torch.Tensor]) -> None:
    """On a CPU, tensors read from safetensors are views of the file: one of them keeps all of it mapped."""
    if sum(tensor.nbytes for tensor in tensors) >= _WORTH_KEEPING * len(file):
        return
    for tensor in tensors:
        tensor.data = tensor.data.clone()
