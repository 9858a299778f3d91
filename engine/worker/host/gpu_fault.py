"""Faults after which a GPU no longer works for this process: every call returns the same error.

CUDA keeps such an error (an illegal address, a failed assertion on the device) as long as the process lives,
so the worker has to end. Owns how they are recognized. Running out of memory is not one of them.
"""

import re

import torch

from engine.worker.host import memory

HINT = "load it again"
_REFUSED = re.compile(
    r"no kernel image|invalid (argument|configuration)|too many resources|is capturing|not supported"
)
"""Of a launch that was not done: the device goes on."""
_SAID = re.compile(r"CUDA error: |device-side assert|(CUDNN|CUBLAS)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)")


def is_lost(error: BaseException) -> bool:
    """Whether this error, or what it was raised from, is such a fault; otherwise the GPU itself is tried."""
    return any(map(_is_fault, _chain(error))) or not _responds()


def message(error: BaseException) -> str:
    """One line for the user."""
    line = next(iter(str(error).splitlines()), "")
    return f"the GPU failed and no longer responds to this worker: {line}"


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from; one may be raised from itself."""
    found = [error]
    while (cause := found[-1].__cause__) is not None and cause not in found:
        found.append(cause)
    return found


def _is_fault(error: BaseException) -> bool:
    is_cudas = type(error).__name__ == "AcceleratorError" or bool(_SAID.search(str(error)))
    return is_cudas and not (memory.is_out_of_memory(error) or _REFUSED.search(str(error)))


def _responds() -> bool:
    """Whether the device still works: a fault shows at the next call."""
    if not torch.cuda.is_initialized():
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True
