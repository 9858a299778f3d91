"""A team of OpenMP threads, as compiled code sees it: thread number, thread count, and the barrier.

Owns the link to the library whose teams run compiled functions; must not know what those compute.
"""

import ctypes

import llvmlite.binding as llvm
from numba import types

barrier = types.ExternalFunction("GOMP_barrier", types.void())
thread_number = types.ExternalFunction("omp_get_thread_num", types.int32())
thread_count = types.ExternalFunction("omp_get_num_threads", types.int32())


def link(openmp: ctypes.CDLL) -> None:
    """Tell the compiler where OpenMP is, before anything is compiled that asks it."""
    for name in ("GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads"):
        llvm.add_symbol(name, ctypes.cast(getattr(openmp, name), ctypes.c_void_p).value)
