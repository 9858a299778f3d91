"""How each method of `engine/methods.py` loads a model: one module a method, imported when it is asked for.

A module has `STAGE`, what the user is told while it works, and `load(method, checkpoint, placement)`.
"""

from importlib import import_module
from typing import Protocol, cast

from transformers import PreTrainedModel

from engine.methods import Method, tag
from engine.protocol import Stage
from engine.worker.checkpoint import Checkpoint
from engine.worker.placement import Placement

MODULES = {
    "full": "engine.worker.methods.full",
    "bitsandbytes": "engine.worker.methods.bitsandbytes",
    "gguf": "engine.worker.methods.gguf",
    "stored": "engine.worker.methods.stored",
    "rtn": "engine.worker.methods.rtn",
    "gptq": "engine.worker.methods.gptq",
    "awq": "engine.worker.methods.awq",
}


class Loader(Protocol):
    """What a method's module offers."""

    STAGE: Stage

    def load(self, method: Method, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
        """The model on its device; LoadError where this checkpoint is not for this method."""


def loader(method: Method) -> Loader:
    """The module that loads this method."""
    return cast(Loader, import_module(MODULES[tag(method)]))
