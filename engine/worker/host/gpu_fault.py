"""Faults after which a GPU answers this process no more: whatever it is asked, the same error comes back.

CUDA keeps such an error (an illegal address, a failed assertion on the device) as long as the process lives,
so the worker that met one has to end. Owns how they are recognized. Memory that ran out is none of them.
"""

import re

import torch

from engine.worker.host import memory

HINT = "load it again"
_SAID = re.compile(r"CUDA error: |device-side assert|(CUDNN|CUBLAS)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)")


def is_lost(error: BaseException) -> bool:
    """Whether this error, or what it was raised from, tells of such a fault; else the GPU is asked itself."""
    return any(map(_tells, _chain(error))) or not _answer()


def message(error: BaseException) -> str:
    """One line for the user."""
    line = next(iter(str(error).splitlines()), "")
    return f"the GPU met a fault and answers this worker no more: {line}"


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from; one may be raised from itself."""
    found = [error]
    while (cause := found[-1].__cause__) is not None and cause not in found:
        found.append(cause)
    return found


def _tells(error: BaseException) -> bool:
    is_cudas = type(error).__name__ == "AcceleratorError" or bool(_SAID.search(str(error)))
    return is_cudas and not memory.is_out_of_memory(error)


def _answer() -> bool:
    """Whether the device does what it is asked: a fault shows at whatever comes after it."""
    if not torch.cuda.is_initialized():
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True
