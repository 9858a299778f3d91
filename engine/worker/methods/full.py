"""Full precision: the checkpoint's weights in bf16, fp16 or fp32."""

from transformers import PreTrainedModel

from engine.methods import Full
from engine.protocol import Stage
from engine.worker.checkpoint import Checkpoint
from engine.worker.placement import Placement

STAGE: Stage = "read"


def load(method: Full, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """The model without any quantization; LoadError where the checkpoint is quantized."""
    checkpoint.require_full_precision()
    return checkpoint.model(placement)
