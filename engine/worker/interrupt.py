"""Leaves a forward pass in the middle, so that a cancel need not wait for its end.

Owns the hook that checks. Must not know requests, nor what happens to a cache that some layers have filled.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.nn.modules.module import register_module_forward_pre_hook


class CancelledError(Exception):
    """The pass was cancelled meanwhile."""


@contextmanager
def interruptible(cancelled: Callable[[], bool], device: torch.device) -> Iterator[None]:
    """Once it is cancelled, a forward pass within raises CancelledError before the model's next module.

    On a CPU only: a GPU finishes a pass before anybody has waited, and gets its work well ahead.
    """
    if device.type != "cpu":
        yield
        return

    def look(module: torch.nn.Module, inputs: object) -> None:
        if cancelled():
            raise CancelledError

    handle = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()
