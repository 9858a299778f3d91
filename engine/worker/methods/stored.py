"""As the checkpoint is: by its own quantization_config, or in full precision where it has none."""

from transformers import PreTrainedModel
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

from engine.config.layouts import PACKED
from engine.config.methods import Stored
from engine.errors import LoadError
from engine.protocol import Stage
from engine.worker.checkpoints import packed_modules
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.checkpoints.placement import Placement
from engine.worker.methods import gptqmodel_api

STAGE: Stage = "read"


def load(method: Stored, checkpoint: Checkpoint, placement: Placement) -> PreTrainedModel:
    """The model as it is stored; LoadError where nothing here can read its format.

    GPTQ's and AWQ's layouts get the same kernels as the methods of that name.
    """
    stored = checkpoint.stored_quantization
    how = str(stored.get("quant_method", ""))
    if stored:
        packed_modules.require_whole(checkpoint.name, checkpoint.path, how)
    if how in PACKED:
        return gptqmodel_api.load_quantized(checkpoint, placement)
    known = how in AUTO_QUANTIZATION_CONFIG_MAPPING or how == "bitsandbytes"
    if stored and not known:
        how = how or "an unnamed method"
        raise LoadError(f"{checkpoint.name} is quantized with {how}, which transformers cannot read")
    return checkpoint.model(placement)
