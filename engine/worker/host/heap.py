"""How the C library keeps freed blocks: given back at once while a model loads, kept for reuse afterwards.

Owns two settings of glibc's malloc. By default it learns to keep blocks of up to 32 MiB, and loading, which
makes and drops many, then holds several hundred MiB that nobody uses. Does nothing with another C library.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_WHILE_LOADING_BYTES = 1 << 20
_USUAL_BYTES = 32 << 20  # what glibc would have learnt (mallopt(3): DEFAULT_MMAP_THRESHOLD_MAX)


@contextmanager
def tidy() -> Iterator[None]:
    """Within it a freed block of 1 MiB or more is the system's again."""
    _set(_WHILE_LOADING_BYTES)
    try:
        yield
    finally:
        _set(_USUAL_BYTES)


def trim() -> None:
    """Give the system every free page there is, also between blocks that are in use."""
    trimming = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trimming is not None:  # glibc's; musl has none
        trimming(0)


def _set(threshold_bytes: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, threshold_bytes)
        mallopt(_TRIM_THRESHOLD, 2 * threshold_bytes)
