"""What a tensor is for, by its name and shape: the names of transformers and of GGUF.

A quantizer takes the matrices inside the layers, and leaves embeddings, norms and usually the output head.
"""

import re
from typing import Literal

from engine.shape.model_shape import ModelShape, Tensor

Role = Literal["linear", "head", "embedding", "other"]
_IN_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blk|blocks|block)\.\d+\.")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output)\.weight$")
_EMBEDDING = re.compile(r"embed|token_embd|(?:^|\.)w[tp]e\.|position_embd")
_ROUTER = re.compile(r"[._](?:gate|router)(?:\.weight)?$")
_UNUSED = re.compile(r"rotary_emb\.inv_freq$|^rope_freqs\.|\.attn\.(?:masked_)?bias$")


def role(tensor: Tensor) -> Role:
    """What this tensor is for."""
    if _HEAD.search(tensor.name):
        return "head"
    if _EMBEDDING.search(tensor.name) and not _IN_LAYER.search(tensor.name):
        return "embedding"
    return "linear" if len(tensor.shape) >= 2 else "other"


def is_in_layer(tensor: Tensor) -> bool:
    """Whether it is in one of the model's layers."""
    return bool(_IN_LAYER.search(tensor.name))


def is_router(name: str) -> bool:
    """Whether a matrix of this name chooses experts, or weighs one: small, and too telling to be rounded."""
    return bool(_ROUTER.search(name))


def layer_of(tensor: Tensor) -> str:
    """The name of the layer it is in; empty outside."""
    found = _IN_LAYER.search(tensor.name)
    return tensor.name[: found.end()] if found else ""


def used(shape: ModelShape) -> tuple[Tensor, ...]:
    """The tensors that are loaded: a tied head is the embedding, whichever of the two is stored.

    Tables that are computed are left out, and layers beyond those that the config says.
    """
    has_embedding = any(role(tensor) == "embedding" for tensor in shape.tensors)
    is_doubled = shape.architecture.tied and has_embedding
    return tuple(
        tensor
        for tensor in shape.tensors
        if not _UNUSED.search(tensor.name)
        and not (is_doubled and role(tensor) == "head")
        and _layer_number(tensor) < shape.architecture.layers
    )


def _layer_number(tensor: Tensor) -> int:
    """From 0; -1 outside of layers."""
    return int(layer_of(tensor).rstrip(".").rpartition(".")[2] or -1)
