"""How each method of `engine/config/methods.py` loads a model: by a module, imported when needed.

A module has `STAGE`, what the user sees while it works, and `load(method, checkpoint, placement)`.
"""

from importlib import import_module
from typing import Protocol, cast

from transformers import PreTrainedModel

from engine.config.methods import Method, original, tag
from engine.protocol.loading import Stage
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement

MODULES = {
    "full": "engine.worker.methods.full",
    "bitsandbytes": "engine.worker.methods.bitsandbytes",
    "fp8": "engine.worker.methods.fp8",
    "gguf": "engine.worker.methods.gguf",
    "stored": "engine.worker.methods.stored",
    "rtn": "engine.worker.methods.gptqmodel_api",
    "gptq": "engine.worker.methods.gptqmodel_api",
    "awq": "engine.worker.methods.gptqmodel_api",
    "autoround": "engine.worker.methods.gptqmodel_api",
}

ORIGINALS = {
    "autoawq": "engine.worker.methods.autoawq",
    "auto-gptq": "engine.worker.methods.autogptq",
}  # by the package


class Loader(Protocol):
    """What a method's module offers."""

    STAGE: Stage

    def load(self, method: Method, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
        """The model on its device; LoadError where this checkpoint is not for this method."""


def loader(method: Method) -> Loader:
    """The module that loads this method."""
    return cast(Loader, import_module(ORIGINALS.get(original(method)) or MODULES[tag(method)]))
