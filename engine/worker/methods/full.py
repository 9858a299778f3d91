"""Full precision: the checkpoint's weights in bf16, fp16 or fp32."""

from transformers import PreTrainedModel

from engine.config.methods import Full
from engine.protocol.loading import Stage
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement

STAGE: Stage = "read"


def load(method: Full, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """The model without any quantization; LoadError where the checkpoint is quantized."""
    checkpoint.require_full_precision()
    return checkpoint.model(placement)
