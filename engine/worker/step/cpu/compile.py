"""Functions that numba compiles for this processor, and the OpenMP threads of torch that run them.

Owns whether there are such functions here, where compiled code is kept (nothing is run that others could have
put there), that one of several processes compiles, and the call. Without a compiler, or where it fails, there
are none, and callers do without. Must not know models.
"""

import ctypes
import hashlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache as remembered
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch
from filelock import FileLock

from engine import paths, private
from engine.config.runtime import VECTOR_FLAG
from engine.machine import hardware

_KERNELS = Path(__file__).parent / "kernels"
_WHOLE = "whole"  # a file next to compiled code, once there is all of it


@remembered
def openmp() -> ctypes.CDLL | None:
    """The OpenMP library whose threads torch uses; None where it is not GNU's, or there is no compiler."""
    if sys.platform != "linux" or find_spec("numba") is None:
        return None
    for path in [*Path(torch.__file__).parent.glob("lib/libgomp*"), Path("libgomp.so.1")]:
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        library.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
        return library
    return None


@remembered
def kernels() -> ModuleType | None:
    """`decoder`, compiled: some seconds once a machine, then from the cache. None where that fails."""
    library = openmp()
    if library is None:
        return None
    try:
        folder = private.code_folder(_cache(), paths.cache())
        os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))  # before numba is imported
        with private.files(), compiling_once(folder):
            from engine.worker.step.cpu.kernels import team

            team.link(library)
            from engine.worker.step.cpu.kernels import decoder
    except Exception:  # another processor, a full disk: answers still come, only slower
        traceback.print_exc()  # into the log
        return None
    return decoder


def is_first_time() -> bool:
    """Whether they would have to be compiled now, which takes about ten seconds."""
    return openmp() is not None and not (_cache() / _WHOLE).exists()


@contextmanager
def compiling_once(folder: Path) -> Iterator[None]:
    """Who comes first compiles into the folder while others wait; once all is there nobody waits."""
    whole = folder / _WHOLE
    with nullcontext() if whole.exists() else FileLock(folder / "lock"):
        yield
        if not whole.exists():
            whole.touch()


def has_vectors() -> bool:
    """Whether there are compiled matmuls with 4-bit and 8-bit weights: those need AVX512_BF16."""
    if VECTOR_FLAG not in hardware.cpu()[1]:
        return False
    found = kernels()
    return found is not None and bool(found.HAS_VECTORS)


def run(function_address: int, argument_address: int, threads: int) -> None:
    """Call a compiled function with one pointer, in every thread of a team; returns when all have."""
    library = openmp()
    if library is None:
        raise RuntimeError("no OpenMP library")
    library.GOMP_parallel(function_address, argument_address, threads, 0)


def _cache() -> Path:
    """Of compiled code: a folder for each place of the sources, as numba has it, and for each state of them,
    because numba checks one file only."""
    digest = hashlib.sha256(os.fsencode(_KERNELS))
    for file in sorted(_KERNELS.glob("*.py")):
        digest.update(file.read_bytes())
    return paths.cache() / "numba" / digest.hexdigest()[:16]
