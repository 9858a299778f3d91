"""A model as its headers describe it: its tensors, and the numbers that decide how large its cache is.

Plain data and sums. Reads nothing.
"""

import math
from dataclasses import dataclass
from typing import Literal

from engine.config.layouts import Layout

Precision = Literal["bfloat16", "float16", "float32"]
DTYPE_BYTES: dict[str, int] = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a checkpoint."""

    name: str
    shape: tuple[int, ...]
    stored_bytes: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What the config says of a decoder."""

    model_type: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    key_size: int
    """Of one head's key."""
    value_size: int
    vocabulary: int
    context_length: int
    """Tokens it was made for; 0 where nothing is said."""
    windows: tuple[int, ...]
    """One a layer that keeps keys and values: tokens it looks back at most; 0 is all of them."""
    tied: bool
    """Whether the output head is the embedding."""
    experts: int = 0
    experts_used: int = 0
    """Of them, by a token."""
    rotary: bool = True
    activation: str = "silu"
    """Of the feed-forward layers."""
    latent_size: int = 0
    """Numbers a token that latent attention keeps instead of keys and values; 0 for other attention."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How a checkpoint's weights are quantized already, by its own quantization_config."""

    method: str
    """`gptq`, `awq`, `bitsandbytes`, `gguf`, or another that transformers knows."""
    is_fp8: bool = False
    """FP8 by compressed-tensors, which is held as it is stored."""
    layout: Layout | None = None
    """Of `gptq` and `awq`, and of what compressed-tensors holds in GPTQ's layout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A checkpoint before it is loaded."""

    name: str
    origin: str
    """Where this was read, such as `safetensors headers in …`."""
    architecture: Architecture
    dtype: Precision
    """What the unquantized tensors are stored in."""
    tensors: tuple[Tensor, ...]
    file_bytes: int
    """Of the weight files on this disk; 0 where there are none (yet)."""
    packing: Packing | None = None
    tokenizer_bytes: int = 0
    """Of tokenizer.json; 0 where there is none to be seen."""

    @property
    def parameters(self) -> int:
        """Numbers held by the tensors; tied ones count once. A packed checkpoint's are its integers."""
        return sum(tensor.elements for tensor in self.tensors)
