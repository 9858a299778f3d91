"""Frees the host memory that loading needed and the model does not: otherwise 4 bits take more than 16.

Owns three remedies: a checkpoint file that stays mapped for a few tensors is unmapped, pages of such a file
that nobody reads any more leave the resident set, and the C library is asked to return free blocks: glibc's
malloc learns to keep those of up to 32 MiB, and loading, which allocates and frees many, then holds several
hundred MiB that nobody uses. Must not change any value. They work on Linux only and do nothing elsewhere.
"""

import ctypes
import gc
import mmap
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
from torch import nn

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_WHILE_LOADING_BYTES = 1 << 20
_USUAL_BYTES = 32 << 20  # what glibc would have learnt (mallopt(3): DEFAULT_MMAP_THRESHOLD_MAX)
_WORTH_KEEPING = 0.5  # share of a mapped file that the model must use


@contextmanager
def tidy() -> Iterator[None]:
    """Within it a freed block of 1 MiB or more is returned to the system."""
    _set(_WHILE_LOADING_BYTES)
    try:
        yield
    finally:
        _set(_USUAL_BYTES)


def trim() -> None:
    """Return every free page to the system, also between blocks that are in use."""
    trimming = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trimming is not None:  # glibc's; musl has none
        trimming(0)


def give_back(model: nn.Module) -> None:
    """Call it once, after loading. GPUs are not touched."""
    if sys.platform != "linux":
        return
    tensors = list(chain(model.parameters(), model.buffers()))
    for file in _mapped_files():
        _unmap(file, [tensor for tensor in tensors if _address(tensor) in file])
    gc.collect()
    trim()


def forget(tensors: Sequence[torch.Tensor]) -> None:
    """Drop pages of mapped checkpoint files whose tensors were copied; they are loaded again if read.

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
    """Of the tensor's data; 0 for one that wraps others, as torchao's do."""
    try:
        return tensor.data_ptr()
    except RuntimeError:  # "doesn't have storage"
        return 0


def _mapped_files() -> list[range]:
    """The addresses of every checkpoint file that is mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split(maxsplit=1)[0].split("-") for line in lines if line.endswith(".safetensors")]
    return [range(int(first, 16), int(last, 16)) for first, last in spans]


def _unmap(file: range, tensors: list[torch.Tensor]) -> None:
    """On a CPU, tensors read from safetensors are views of the file: one of them keeps all of it mapped."""
    if sum(tensor.nbytes for tensor in tensors) >= _WORTH_KEEPING * len(file):
        return
    for tensor in tensors:
        tensor.data = tensor.data.clone()


def _set(threshold_bytes: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, threshold_bytes)
        mallopt(_TRIM_THRESHOLD, 2 * threshold_bytes)
