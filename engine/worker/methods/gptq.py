"""GPTQ: a checkpoint that was made once and lies in the store, loaded with the kernel chosen for it."""

from transformers import PreTrainedModel

from engine.methods import Packed
from engine.protocol import Stage
from engine.worker import gptqmodel_api
from engine.worker.checkpoint import Checkpoint
from engine.worker.placement import Placement

STAGE: Stage = "read"


def load(method: Packed, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """The quantized model, with the kernel that suits its layout, this device and this dtype."""
    return gptqmodel_api.load(checkpoint, placement)
