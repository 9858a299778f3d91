"""Random weights of a named real shape: made one tensor at a time while transformers loads them.

Owns their values. Every tensor is seeded by its name and made in the shape's own dtype, so a shape has the
same weights under every method and every `model.dtype` on one device. (CPU and GPU draw different numbers.)
Norm weights are 1, biases 0, the rest normal with standard deviation 0.02.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from engine.worker import older

STANDARD_DEVIATION = 0.02


@dataclass(frozen=True, slots=True)
class RandomTensor:
    """A tensor that is made when it is read: `tensor[...]`, as from a safetensors slice."""

    name: str
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    def __getitem__(self, index: object) -> torch.Tensor:
        tensor = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        if self.name.endswith("bias"):
            tensor.zero_()
        elif tensor.ndim < 2:  # a norm's
            tensor.fill_(1)
        else:
            tensor.normal_(0, STANDARD_DEVIATION, generator=self._generator())
        return tensor[index]

    def _generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(zlib.crc32(self.name.encode()))


def model(options: dict[str, Any], device: torch.device) -> PreTrainedModel:
    """What `from_pretrained` builds from random weights with these options, which include `config`."""
    config = options["config"]
    model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    made = tensors(config, device)
    if older.is_older():
        loaded = _filled(model_class._from_config(config, torch_dtype=options["dtype"]).to(device), made)
    else:
        loaded = model_class.from_pretrained(None, state_dict=made, **options)
    loaded.generation_config.eos_token_id = None  # random text has no end: every answer runs to its limit
    return loaded


def _filled(empty: PreTrainedModel, made: dict[str, RandomTensor]) -> PreTrainedModel:
    """For transformers 4, which reads no tensor that is made when it is read."""
    empty.load_state_dict(
        {name: each[...] for name, each in made.items()}, strict=False
    )  # tied ones are there
    return empty.eval()


def tensors(config: PreTrainedConfig, device: torch.device) -> dict[str, RandomTensor]:
    """Every tensor of the shape, not yet allocated; tied ones once."""
    with torch.device("meta"):
        skeleton = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config)
    tied = set(skeleton.all_tied_weights_keys)
    dtype = config.dtype or torch.bfloat16
    return {
        name: RandomTensor(name, tensor.shape, dtype, device)
        for name, tensor in skeleton.state_dict().items()
        if name not in tied
    }
