"""From a config.json to the numbers of a decoder, by the names that transformers' configs use.

Owns the spellings. A config without layers or heads is no text-generating model that is known here.
"""

from collections.abc import Mapping
from typing import Any, cast

from engine.errors import ShapeError
from engine.packing import PACKED, layout
from engine.shape.model_shape import DTYPE_BYTES, Architecture, Packing, Precision

Config = Mapping[str, Any]  # JSON as it came
_TIED_UNLESS_SAID = {"opt", "gpt2", "gemma", "gemma2", "gemma3_text", "bloom"}
_LEARNT_POSITIONS = {"opt", "gpt2", "gpt_bigcode", "bloom"}
_STATELESS = {"linear_attention", "mamba", "recurrent"}  # layers that keep a state instead of keys and values


def architecture(config: Config) -> Architecture:
    """The decoder's numbers; ShapeError where the config does not tell them."""
    text = _text_config(config)
    heads = _int(text, "num_attention_heads", "n_head", "num_heads")
    hidden = _int(text, "hidden_size", "n_embd", "d_model")
    head_size = _int(text, "head_dim", default=hidden // heads)
    rotary_part = _int(text, "qk_rope_head_dim", default=0)
    layers = _int(text, "num_hidden_layers", "n_layer", "num_layers")
    kind = str(text.get("model_type", config.get("model_type", "")))
    return Architecture(
        model_type=kind,
        layers=layers,
        hidden=hidden,
        intermediate=_int(text, "intermediate_size", "ffn_dim", "n_inner", default=4 * hidden),
        heads=heads,
        kv_heads=_int(text, "num_key_value_heads", "num_kv_heads", default=heads),
        key_size=_int(text, "qk_nope_head_dim", default=head_size - rotary_part) + rotary_part,
        value_size=_int(text, "v_head_dim", default=head_size),
        vocabulary=_int(text, "vocab_size"),
        context_length=_int(text, "max_position_embeddings", "n_positions", default=0),
        windows=windows(text, layers),
        tied=bool(
            text.get("tie_word_embeddings", config.get("tie_word_embeddings", kind in _TIED_UNLESS_SAID))
        ),
        experts=_int(text, "num_local_experts", "num_experts", "n_routed_experts", default=0),
        rotary=kind not in _LEARNT_POSITIONS,
    )


def windows(text: Config, layers: int) -> tuple[int, ...]:
    """How far back each layer's cache reaches, as transformers' cache decides it; stateful ones left out."""
    window = text.get("sliding_window") or text.get("attention_chunk_size") or 0
    kinds = text.get("layer_types")
    if isinstance(kinds, list):
        keeps = [kind for kind in kinds if kind not in _STATELESS]
        return tuple(0 if kind == "full_attention" else int(window) for kind in keeps)
    if not text.get("use_sliding_window", True):
        return (0,) * layers
    full = min(layers, int(text["max_window_layers"])) if "max_window_layers" in text and window else 0
    return (0,) * full + (int(window),) * (layers - full)


def dtype(config: Config) -> Precision | None:
    """What the config says that the weights are stored in; None where it says nothing usable."""
    text = _text_config(config)
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
    return Packing(method, layout(stored) if method in PACKED else None)


def _text_config(config: Config) -> Config:
    """The part about text, of a model that knows more than text."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _int(config: Config, *names: str, default: int | None = None) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    if default is None:
        raise ShapeError(f"config.json says no {names[0]}: no text-generating model that is known here")
    return default
