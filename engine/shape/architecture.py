"""From a config.json to the numbers of a decoder, as transformers would read them.

Owns what the numbers mean for the cache; names and defaults are `families`'. A config without layers or heads
is no text-generating model that is known here.
"""

from typing import cast

from engine.config import runtime
from engine.config.layouts import COMPRESSED, PACKED, auto_round, compressed, fp8, layout
from engine.shape import context_window, families
from engine.shape.boundary import UnsoundError, number, whole
from engine.shape.families import Config
from engine.shape.model_shape import DTYPE_BYTES, Architecture, Packing, Precision

MOST_LAYERS, MOST_HEADS, LARGEST_HIDDEN, LARGEST_VOCABULARY = 10_000, 1 << 16, 1 << 20, 1 << 24
_CACHELESS = {"linear_attention", "mamba", "mamba2", "recurrent", "conv", "moe", "mlp"}
"""Layers that keep no keys and values: a state, or nothing."""
_WINDOWED = {
    "sliding_attention": "sliding_window",
    "hybrid_sliding": "sliding_window",
    "chunked_attention": "attention_chunk_size",
}
_PATTERNED = {"gemma3_text", "cohere2", "cohere2_moe", "exaone4", "exaone_moe"}
"""Kinds that read `sliding_window_pattern`: every n-th layer looks back all the way."""
_SHARED = "num_kv_shared_layers"
_FALCONS = {"falcon", "RefinedWeb", "RefinedWebModel"}


def architecture(config: Config) -> Architecture:
    """The decoder's numbers; ShapeError where the config does not give them."""
    text = families.completed(config)
    heads = _needed(text, "num_attention_heads", MOST_HEADS)
    hidden = _needed(text, "hidden_size", LARGEST_HIDDEN)
    layers = _needed(text, "num_hidden_layers", MOST_LAYERS)
    kind = text.get("model_type")
    head_size = _size(text, "head_dim") or max(1, hidden // heads)
    rotary_part = _size(text, "qk_rope_head_dim")
    is_latent = text.get("qk_nope_head_dim") is not None
    return Architecture(
        model_type=kind if isinstance(kind, str) else "",
        layers=layers,
        hidden=hidden,
        intermediate=_intermediate(text) or 4 * hidden,
        heads=heads,
        kv_heads=_kv_heads(text, heads),
        latent_size=_latent_size(text),
        key_size=_size(text, "qk_nope_head_dim") + rotary_part if is_latent else head_size,
        value_size=_size(text, "v_head_dim") or head_size,
        vocabulary=_needed(text, "vocab_size", LARGEST_VOCABULARY),
        context_length=context_window.of(text),
        windows=windows(text, layers),
        tied=bool(text.get("tie_word_embeddings")),
        experts=number(text, "num_local_experts", "num_experts", "n_routed_experts") or 0,
        experts_used=number(text, "num_experts_per_tok", "experts_per_token") or 0,
        rotary=bool(families.of(text).get("rotary", True)),
        activation=_activation(text),
    )


def require_layers(config: Config) -> None:
    """UnsoundError for more layers than any model has: libraries would make each, and lists of them."""
    said = families.completed(config).get("num_hidden_layers")
    if said is not None:
        whole(said, "num_hidden_layers", 0, MOST_LAYERS)


def _intermediate(text: Config) -> int:
    """Of the widest layer; 0 where nothing is said."""
    said = text.get("intermediate_size")
    if isinstance(said, list):
        return max((whole(size, "intermediate_size", 0, LARGEST_HIDDEN) for size in said), default=0)
    return _size(text, "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")


def _activation(text: Config) -> str:
    said = text.get("hidden_act")
    return said if isinstance(said, str) else "silu"


def _kv_heads(text: Config, heads: int) -> int:
    """Heads that the cache keeps: fewer than there are where several queries share a key."""
    if text.get("model_type") in _FALCONS and text.get("new_decoder_architecture"):
        return heads  # spread before they are kept
    if text.get("multi_query"):
        return 1
    for name in ("num_key_value_heads", "num_kv_heads"):
        if families.heeds(text, name):
            return whole(text[name], name, 1, MOST_HEADS)
    return heads


def _latent_size(text: Config) -> int:
    """Numbers that latent attention keeps of a token; 0 where keys and values of every head are kept."""
    is_kept = families.of(text) and families.heeds(text, "kv_lora_rank")
    return _size(text, "kv_lora_rank") + _size(text, "qk_rope_head_dim") if is_kept else 0


def windows(text: Config, layers: int) -> tuple[int, ...]:
    """How far back each layer's cache reaches, as transformers' cache decides it; 0 is all the way.

    Layers that keep none are left out.
    """
    kinds = _layer_kinds(text, layers)
    if kinds is not None:
        kept = [kind for kind in kinds[: layers - (number(text, _SHARED) or 0)] if kind not in _CACHELESS]
        return tuple(number(text, _WINDOWED[kind]) or 0 if kind in _WINDOWED else 0 for kind in kept)
    said = number(text, "sliding_window") or number(text, "attention_chunk_size") or 0
    window = runtime.window(str(text.get("model_type")), said, context_window.of(text))
    if families.heeds(text, "use_sliding_window") and not text["use_sliding_window"]:
        return (0,) * layers
    heeded = number(text, "max_window_layers") if families.heeds(text, "max_window_layers") else 0
    full = min(layers, heeded or 0)
    return (0,) * full + (window,) * (layers - full)


def _layer_kinds(text: Config, layers: int) -> list[str] | None:
    """Of every layer, by the config or by its family; None where windows are given in another way."""
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
    if found := auto_round(stored):
        return Packing(method, layout=layout(found))
    if method == COMPRESSED:
        return Packing(method, fp8(stored) is not None, compressed(stored))
    if method not in PACKED:
        return Packing(method)
    for name, least, most in (("bits", 1, 32), ("group_size", -1, 1 << 20)):
        if stored.get(name) is not None:
            whole(stored[name], f"quantization_config.{name}", least, most)
    return Packing(method, layout=layout(stored))


def _size(text: Config, *names: str) -> int:
    """The first of these that is said, no larger than a hidden size can be; 0 for none."""
    found = number(text, *names)
    return 0 if found is None else whole(found, names[0], 0, LARGEST_HIDDEN)


def _needed(text: Config, name: str, most: int) -> int:
    value = number(text, name)
    if value is None:
        raise UnsoundError(f"has no {name}: it is not a text-generating model that is known here")
    return whole(value, name, 1, most)
