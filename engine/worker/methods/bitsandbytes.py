"""bitsandbytes: full-precision weights quantized while they are read, to LLM.int8, NF4 or FP4."""

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from engine.checkpoints import store
from engine.config.methods import BitsAndBytes
from engine.protocol.loading import Stage
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement, has_bfloat16

STAGE: Stage = "quantize"
OUTLIER_THRESHOLD = 6.0  # LLM.int8(), section 3.2


def load(method: BitsAndBytes, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """The model with its linear layers quantized; the output head stays as it is.

    The store's checkpoint is read as it was written, and computes in the dtype that suits this device.
    """
    if checkpoint.path.parent == store.folder() and checkpoint.stored_quantization:
        checkpoint.config.quantization_config["bnb_4bit_compute_dtype"] = compute_dtype_name(placement)
        return checkpoint.model(placement)
    checkpoint.require_full_precision()
    return checkpoint.model(placement, config(method, placement))


def config(method: BitsAndBytes, placement: Placement) -> BitsAndBytesConfig:
    """The options as transformers takes them."""
    if method.bits == 8:
        threshold = OUTLIER_THRESHOLD if method.threshold is None else method.threshold
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=threshold)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=method.quant_type or "nf4",
        bnb_4bit_use_double_quant=bool(method.double_quant),
        bnb_4bit_compute_dtype=compute_dtype(placement),
    )


def compute_dtype_name(placement: Placement) -> str:
    """`compute_dtype` as a checkpoint's config spells it."""
    return str(compute_dtype(placement)).removeprefix("torch.")


def compute_dtype(placement: Placement) -> torch.dtype:
    """What 4-bit weights are dequantized to for the matmul: the model's own dtype, so that nothing is cast.

    For float32 it is bf16, or fp16 on GPUs that lack it.
    """
    if placement.dtype != torch.float32:
        return placement.dtype
    return torch.bfloat16 if has_bfloat16(placement.device) else torch.float16
