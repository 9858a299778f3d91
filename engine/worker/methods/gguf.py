"""GGUF files through transformers, which dequantizes every weight to full precision while it loads."""

from transformers import GgufConfig, PreTrainedModel

from engine.config.methods import Gguf
from engine.errors import LoadError
from engine.protocol.loading import Stage
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement

STAGE: Stage = "read"


def load(method: Gguf, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """The model with dequantized weights, in the placement's dtype."""
    if checkpoint.kind != "gguf":
        raise LoadError(
            f"{checkpoint.name} is not a GGUF file", "method gguf needs a .gguf file as model.source"
        )
    return checkpoint.model(placement, GgufConfig(dequantize=True))
