"""As the checkpoint is: by its own quantization_config, or in full precision where it has none."""

from transformers import PreTrainedModel

from engine.config import formats
from engine.config.layouts import PACKED
from engine.config.layouts import fp8 as fp8_layout
from engine.config.methods import Stored
from engine.errors import LoadError
from engine.protocol.loading import Stage
from engine.worker.checkpoints import foreign, packed_modules, w4a16
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement
from engine.worker.failures import first_line
from engine.worker.host import memory
from engine.worker.methods import fp8, gptqmodel_api

STAGE: Stage = "read"


def load(method: Stored, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """The model as it is stored; LoadError where nothing here can read its format.

    GPTQ's and AWQ's layouts get the same kernels as the methods of that name.
    """
    stored = checkpoint.stored_quantization
    how = str(stored.get("quant_method", ""))
    if stored:
        packed_modules.require_whole(checkpoint.name, checkpoint.path, how)
    if w4a16.ORIGINAL in stored:
        return _compressed(checkpoint, placement)
    if fp8_layout(stored) and "dequantize" not in stored:
        return fp8.load_stored(checkpoint, placement)
    if how in PACKED:
        return gptqmodel_api.load_quantized(checkpoint, placement)
    if not stored:
        return checkpoint.model(placement)
    formats.require(checkpoint.name, how)
    if how in formats.PACKAGES:
        return _through_its_package(checkpoint, placement, how)
    model = checkpoint.model(placement)
    if how in formats.DEQUANTIZED and _is_dequantized(model):
        model.reading_notes = (formats.note(how),)
    return model


def _is_dequantized(model: PreTrainedModel) -> bool:
    """Whether transformers had no kernels for it, and read it into full precision."""
    quantizer = getattr(model, "hf_quantizer", None)
    return bool(getattr(getattr(quantizer, "quantization_config", None), "dequantize", True))


def _through_its_package(checkpoint: Checkpoint, placement: Placement, how: str) -> PreTrainedModel:
    """As transformers reads it; LoadError with what it said where this machine is not enough for it."""
    try:
        return checkpoint.model(placement)
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        if memory.is_out_of_memory(error):
            raise
        said = f"{checkpoint.name} is quantized with {how}: {first_line(error)}"
        raise LoadError(said, formats.SERVED) from error


def _compressed(checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """On the kernels for GPTQ's layout; unpacked where GPTQModel cannot have the model."""
    stored = checkpoint.stored_quantization
    try:
        return gptqmodel_api.load_quantized(checkpoint, placement)
    except (ImportError, NotImplementedError, TypeError, ValueError) as error:
        checkpoint.config.quantization_config = stored[w4a16.ORIGINAL] | {"dequantize": True}
        model = checkpoint.model(placement)
        model.reading_notes = (f"{foreign.UNPACKED}: {first_line(error)}",)
        return model
