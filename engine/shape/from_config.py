"""The tensors of well-known architectures, from a config alone: what a model will have that is not here yet.

Owns Llama's kin, with fused matrices (Phi 3) and mixtures (Qwen 3, GPT-OSS) among them, and OPT. The names
are transformers' own; a test compares with its models.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.errors import ShapeError
from engine.shape.boundary import whole
from engine.shape.model_shape import Architecture, Tensor

Shapes = Iterator[tuple[str, tuple[int, ...]]]
MIXTURES = {"qwen3_moe", "gpt_oss"}
LLAMA_KIN = {
    *("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "gemma3_text", "phi3"),
    *MIXTURES,
}
_NORMED_HEADS = {"qwen3", "qwen3_moe", "gemma3_text"}  # queries and keys, by the head
_FOUR_NORMS = {"gemma2", "gemma3_text"}
_POSITION_OFFSET = 2  # OPT's learnt positions begin at 2


def tensors(config: Mapping[str, Any], found: Architecture, element_bytes: int) -> tuple[Tensor, ...]:
    """Every tensor, tied ones once; ShapeError for an architecture of another family."""
    is_mixture = found.model_type in MIXTURES
    if bool(found.experts) != is_mixture or found.model_type not in LLAMA_KIN | {"opt"}:
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
    yield from _attention(config, found)
    yield from _experts(config, found) if kind in MIXTURES else _feed_forward(config, found)
    norms = ["input", "post_attention"] + (
        ["pre_feedforward", "post_feedforward"] if kind in _FOUR_NORMS else []
    )
    yield from ((f"{name}_layernorm.weight", (hidden,)) for name in norms)


def _attention(config: Mapping[str, Any], found: Architecture) -> Shapes:
    hidden, kind = found.hidden, found.model_type
    queries, keys = found.heads * found.key_size, found.kv_heads * found.key_size
    values = found.kv_heads * found.value_size
    sizes = {"q": queries, "k": keys, "v": values}
    if kind == "phi3":
        sizes = {"qkv": queries + keys + values}
    reads_bias = bool(config.get("attention_bias")) or kind == "qwen2"
    for name, rows in sizes.items():
        yield f"self_attn.{name}_proj.weight", (rows, hidden)
        if reads_bias:
            yield f"self_attn.{name}_proj.bias", (rows,)
    yield "self_attn.o_proj.weight", (hidden, found.heads * found.value_size)
    if config.get("attention_bias"):
        yield "self_attn.o_proj.bias", (hidden,)
    if kind in _NORMED_HEADS:
        yield from ((f"self_attn.{name}_norm.weight", (found.key_size,)) for name in "qk")
    if kind == "gpt_oss":
        yield "self_attn.sinks", (found.heads,)


def _feed_forward(config: Mapping[str, Any], found: Architecture) -> Shapes:
    hidden, inner = found.hidden, found.intermediate
    sizes = {"gate_up": 2 * inner} if found.model_type == "phi3" else {"gate": inner, "up": inner}
    for name, rows in sizes.items():
        yield f"mlp.{name}_proj.weight", (rows, hidden)
        if config.get("mlp_bias"):
            yield f"mlp.{name}_proj.bias", (rows,)
    yield "mlp.down_proj.weight", (hidden, inner)
    if config.get("mlp_bias"):
        yield "mlp.down_proj.bias", (hidden,)


def _experts(config: Mapping[str, Any], found: Architecture) -> Shapes:
    """All experts of a layer, stacked as transformers holds them; GPT-OSS's are transposed, with biases."""
    hidden, count, prefix = found.hidden, found.experts, "mlp.experts"
    if found.model_type == "gpt_oss":
        inner = found.intermediate
        yield from _affine("mlp.router", (count, hidden), count)
        yield f"{prefix}.gate_up_proj", (count, hidden, 2 * inner)
        yield f"{prefix}.gate_up_proj_bias", (count, 2 * inner)
        yield f"{prefix}.down_proj", (count, inner, hidden)
        yield f"{prefix}.down_proj_bias", (count, hidden)
        return
    if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
        raise ShapeError("a mixture with layers that have no experts is not known from its config alone")
    inner = whole(config.get("moe_intermediate_size"), "moe_intermediate_size", 1)
    yield "mlp.gate.weight", (count, hidden)
    yield f"{prefix}.gate_up_proj", (count, 2 * inner, hidden)
    yield f"{prefix}.down_proj", (count, hidden, inner)


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
