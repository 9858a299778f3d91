"""Whether a group size divides a model's layers, from its config alone, before any weight is read.

Owns that check. Builds the architecture without memory (torch's meta device) to see its matrices.
"""

import re
from typing import get_args

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from engine.config.methods import GroupSize
from engine.errors import LoadError

_IN_A_LAYER = re.compile(r"\.\d+\.")


def linear_widths(config: PreTrainedConfig, trust_remote_code: bool = False) -> list[int]:
    """The distinct numbers of inputs of the matrices inside the model's layers, in ascending order."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    inside = (module for name, module in model.named_modules() if _IN_A_LAYER.search(name))
    return sorted({width for module in inside if (width := _inputs(module))})


def require_divisible(group_size: int, widths: list[int], name: str) -> None:
    """LoadError unless the group size divides every width; its hint lists the sizes that do."""
    wrong = [width for width in widths if group_size > 0 and width % group_size]
    if not wrong:
        return
    sizes = [size for size in get_args(GroupSize) if all(width % size == 0 for width in widths)]
    raise LoadError(
        f"group_size {group_size} does not divide the layers of {name}, which have {_listed(wrong)} inputs",
        f"these do: {_listed(sorted(sizes, reverse=True))} (-1 is one group per row)",
    )


def layers(config: PreTrainedConfig) -> int:
    """How many layers are quantized one after the other."""
    return int(config.get_text_config().num_hidden_layers)


def _inputs(module: nn.Module) -> int:
    if isinstance(module, Conv1D):
        return int(module.weight.shape[0])
    return module.in_features if isinstance(module, nn.Linear) else 0


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)
