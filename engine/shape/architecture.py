"""From a config.json to the numbers of a decoder, as transformers would read them.

Owns what the numbers mean for the cache; names and defaults are `families`'. A config without layers or heads
is no text-generating model that is known here.
"""

from collections.abc import Mapping
from typing import Any, cast

from engine.packing import PACKED, layout
from engine.shape import context_window, families
from engine.shape.boundary import UnsoundError, number, whole
from engine.shape.families import Config
from engine.shape.model_shape import DTYPE_BYTES, Architecture, Packing, Precision

MOST_LAYERS, MOST_HEADS, LARGEST_HIDDEN, LARGEST_VOCABULARY = 10_000, 1 << 16, 1 << 20, 1 << 24
_LEARNT_POSITIONS = {"opt", "gpt2", "gpt_bigcode", "bloom"}
_CACHELESS = {"linear_attention", "mamba", "mamba2", "recurrent", "conv", "moe", "mlp"}
"""Layers that keep no keys and values: a state, or nothing."""
_WINDOWED = {
    "sliding_attention": "sliding_window",
    "hybrid_sliding": "sliding_window",
    "chunked_attention": "attention_chunk_size",
}
_PATTERNED = {"gemma3_text", "cohere2", "cohere2_moe", "exaone4", "exaone_moe"}
"""Kinds that read `sliding_window_pattern`: every so many layers one looks back all the way."""
_SHARED = "num_kv_shared_layers"
_FALCONS = {"falcon", "RefinedWeb", "RefinedWebModel"}


def architecture(config: Config) -> Architecture:
    """The decoder's numbers; ShapeError where the config does not tell them."""
    text = families.completed(config)
    heads = _needed(text, "num_attention_heads", MOST_HEADS)
    hidden = _needed(text, "hidden_size", LARGEST_HIDDEN)
    layers = _needed(text, "num_hidden_layers", MOST_LAYERS)
    kind = text.get("model_type")
    family = families.of(text)
    head_size = _size(text, "head_dim") or max(1, hidden // heads)
    rotary_part = _size(text, "qk_rope_head_dim")
    is_latent = text.get("qk_nope_head_dim") is not None
    return Architecture(
        model_type=kind if isinstance(kind, str) else "",
        layers=layers,
        hidden=hidden,
        intermediate=_size(text, "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size") or 4 * hidden,
        heads=heads,
        kv_heads=_kv_heads(text, heads),
        key_size=_size(text, "qk_nope_head_dim") + rotary_part if is_latent else head_size,
        value_size=_size(text, "v_head_dim") or head_size,
        vocabulary=_needed(text, "vocab_size", LARGEST_VOCABULARY),
        context_length=context_window.of(text),
        windows=windows(text, layers),
        tied=bool(text.get("tie_word_embeddings")),
        experts=number(text, "num_local_experts", "num_experts", "n_routed_experts") or 0,
        rotary=bool(family.get("rotary", kind not in _LEARNT_POSITIONS)),
    )


def _kv_heads(text: Mapping[str, Any], heads: int) -> int:
    """Heads that the cache keeps: fewer than there are where several queries share a key."""
    if text.get("qk_nope_head_dim") is not None:  # latent attention: keys are spread before they are kept
        return heads
    if text.get("model_type") in _FALCONS and text.get("new_decoder_architecture"):
        return heads  # likewise
    if text.get("multi_query"):
        return 1
    shared = number(text, "num_key_value_heads", "num_kv_heads")
    return heads if shared is None else whole(shared, "num_key_value_heads", 1, MOST_HEADS)


def windows(text: Config, layers: int) -> tuple[int, ...]:
    """How far back each layer's cache reaches, as transformers' cache decides it; 0 is all the way.

    Layers that keep none are left out.
    """
    kinds = _layer_kinds(text, layers)
    if kinds is not None:
        kept = [kind for kind in kinds[: layers - (number(text, _SHARED) or 0)] if kind not in _CACHELESS]
        return tuple(number(text, _WINDOWED[kind]) or 0 if kind in _WINDOWED else 0 for kind in kept)
    window = number(text, "sliding_window") or number(text, "attention_chunk_size") or 0
    if _heeds(text, "use_sliding_window") and not text["use_sliding_window"]:
        return (0,) * layers
    heeded = number(text, "max_window_layers") if _heeds(text, "max_window_layers") else 0
    full = min(layers, heeded or 0)
    return (0,) * full + (window,) * (layers - full)


def _heeds(text: Config, key: str) -> bool:
    """Whether the key is there, and its kind of model looks at it."""
    family = families.of(text)
    return text.get(key) is not None and (not family or key in family["defaults"])


def _layer_kinds(text: Config, layers: int) -> list[str] | None:
    """Of every layer, by the config or by its family; None where windows are told in another way."""
    said = text.get("layer_types")
    if said is not None:
        if not isinstance(said, list) or not all(isinstance(kind, str) for kind in said):
            raise UnsoundError("layer_types: expected a list of kinds of layers")
        return said[:layers]
    unit: list[str] = families.of(text).get("layers", [])
    if text.get("model_type") in _PATTERNED and (pattern := number(text, "sliding_window_pattern")):
        unit = ["sliding_attention"] * (min(pattern, layers + 1) - 1) + ["full_attention"]
    return (unit * (layers // len(unit) + 1))[:layers] if unit else None


def dtype(config: Config) -> Precision | None:
    """What the config says that the weights are stored in; None where it says nothing usable."""
    text = families.text_config(config)
    said = str(
        config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    )
    return cast(Precision, said) if said in DTYPE_BYTES else None


def packing(config: Config) -> Packing | None:
    """How the checkpoint is quantized; None for full precision."""
    stored = config.get("quantization_config")
    if not isinstance(stored, dict) or not stored:
        return None
    method = str(stored.get("quant_method", "unnamed")).lower()
    if method not in PACKED:
        return Packing(method)
    for name, least, most in (("bits", 1, 32), ("group_size", -1, 1 << 20)):
        if stored.get(name) is not None:
            whole(stored[name], f"quantization_config.{name}", least, most)
    return Packing(method, layout(stored))


def _size(text: Mapping[str, Any], *names: str) -> int:
    """The first of these that is said, no larger than a hidden size can be; 0 for none."""
    found = number(text, *names)
    return 0 if found is None else whole(found, names[0], 0, LARGEST_HIDDEN)


def _needed(text: Mapping[str, Any], name: str, most: int) -> int:
    value = number(text, name)
    if value is None:
        raise UnsoundError(f"says no {name}: no text-generating model that is known here")
    return whole(value, name, 1, most)
