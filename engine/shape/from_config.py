"""The tensors of well-known architectures, from a config alone: what a model will have that is not here yet.

Owns two families: Llama's kin and OPT. The names are transformers' own; a test compares with its models.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.errors import ShapeError
from engine.shape.model_shape import Architecture, Tensor

Shapes = Iterator[tuple[str, tuple[int, ...]]]
LLAMA_KIN = {"llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2"}
_POSITION_OFFSET = 2  # OPT's learnt positions begin at 2


def tensors(config: Mapping[str, Any], found: Architecture, element_bytes: int) -> tuple[Tensor, ...]:
    """Every tensor, tied ones once; ShapeError for an architecture of another family."""
    if found.experts or found.model_type not in LLAMA_KIN | {"opt"}:
        raise ShapeError(
            f"the tensors of a {found.model_type or 'nameless'} model are not known from its config alone",
            "with its safetensors files in the folder they are read from their headers",
        )
    shapes = _opt(config, found) if found.model_type == "opt" else _llama(config, found)
    sized = ((name, shape, Tensor(name, shape, 0).elements) for name, shape in shapes)
    return tuple(Tensor(name, shape, elements * element_bytes) for name, shape, elements in sized)


def _llama(config: Mapping[str, Any], found: Architecture) -> Shapes:
    yield "model.embed_tokens.weight", (found.vocabulary, found.hidden)
    for layer in range(found.layers):
        for name, shape in _llama_layer(config, found):
            yield f"model.layers.{layer}.{name}", shape
    yield "model.norm.weight", (found.hidden,)
    if not found.tied:
        yield "lm_head.weight", (found.vocabulary, found.hidden)


def _llama_layer(config: Mapping[str, Any], found: Architecture) -> Shapes:
    hidden, kind = found.hidden, found.model_type
    queries, keys = found.heads * found.key_size, found.kv_heads * found.key_size
    values = found.kv_heads * found.value_size
    reads_bias = bool(config.get("attention_bias")) or kind == "qwen2"
    for name, rows in (("q", queries), ("k", keys), ("v", values)):
        yield f"self_attn.{name}_proj.weight", (rows, hidden)
        if reads_bias:
            yield f"self_attn.{name}_proj.bias", (rows,)
    yield "self_attn.o_proj.weight", (hidden, found.heads * found.value_size)
    if config.get("attention_bias"):
        yield "self_attn.o_proj.bias", (hidden,)
    if kind == "qwen3":
        yield from (
            ("self_attn.q_norm.weight", (found.key_size,)),
            ("self_attn.k_norm.weight", (found.key_size,)),
        )
    for name, shape in (("gate", (found.intermediate, hidden)), ("up", (found.intermediate, hidden))):
        yield f"mlp.{name}_proj.weight", shape
    yield "mlp.down_proj.weight", (hidden, found.intermediate)
    if config.get("mlp_bias"):
        yield from ((f"mlp.{name}_proj.bias", (found.intermediate,)) for name in ("gate", "up"))
        yield "mlp.down_proj.bias", (hidden,)
    norms = ["input", "post_attention"] + (
        ["pre_feedforward", "post_feedforward"] if kind == "gemma2" else []
    )
    yield from ((f"{name}_layernorm.weight", (hidden,)) for name in norms)


def _opt(config: Mapping[str, Any], found: Architecture) -> Shapes:
    hidden, inner = found.hidden, found.intermediate
    if config.get("word_embed_proj_dim", hidden) != hidden:
        raise ShapeError("OPT with a projected embedding is not known from its config alone")
    yield "model.decoder.embed_tokens.weight", (found.vocabulary, hidden)
    yield "model.decoder.embed_positions.weight", (found.context_length + _POSITION_OFFSET, hidden)
    yield from _affine("model.decoder.final_layer_norm", (hidden,), hidden)
    for layer in range(found.layers):
        prefix = f"model.decoder.layers.{layer}"
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from _affine(f"{prefix}.self_attn.{name}", (hidden, hidden), hidden)
        yield from _affine(f"{prefix}.fc1", (inner, hidden), inner)
        yield from _affine(f"{prefix}.fc2", (hidden, inner), hidden)
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            yield from _affine(f"{prefix}.{name}", (hidden,), hidden)


def _affine(name: str, weight: tuple[int, ...], rows: int) -> Shapes:
    yield f"{name}.weight", weight
    yield f"{name}.bias", (rows,)
