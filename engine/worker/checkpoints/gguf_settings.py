"""A GGUF file's settings for its model's arithmetic, compared with the config that transformers made of it.

Owns which of the file's settings matter, and a config's names for them. Compares values, so it need not know
which settings transformers reads. Sizes are left out: tensors of another shape are refused elsewhere.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from engine.shape import gguf_header
from engine.shape.gguf_header import Array, Value
from engine.shape.weight_files import listed

_SIZES = {
    "attention.causal",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_feed_forward_length",
    "expert_gating_func",
    "expert_shared_count",
    "expert_shared_feed_forward_length",
    "feed_forward_length",
    "nextn_predict_layers",
    "pooling_type",
    "rope.dimension_sections",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "tensor_data_layout",
    "vocab_size",
}
"""Settings that the tensors' shapes confirm, that a kind implies, or that mean nothing alone."""
_EPSILON = ("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps")
_IN_CONFIG = {
    "attention.layer_norm_epsilon": _EPSILON,
    "attention.layer_norm_rms_epsilon": _EPSILON,
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_weights_norm": ("norm_topk_prob",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "rope.dimension_count": ("rotary_dim",),
    "rope.freq_base": ("rope_theta",),
    "rope.freq_base_swa": ("rope_theta", "rope_local_base_freq"),
    "rope.scaling.factor": ("factor",),
    "rope.scaling.type": ("rope_type",),
    "shortconv.l_cache": ("conv_L_cache",),
    "use_parallel_residual": ("use_parallel_residual", "parallel_attn"),
}
"""GGUF's names, and transformers' for the same."""
_STATES = ("ssm.", "full_attention_interval")  # of the few kinds whose settings transformers reads in full
_ENDS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")


def notes(file: Path, config: PreTrainedConfig) -> tuple[str, ...]:
    """What the user should know about settings that differ from the file's."""
    unread = [f"{key} {_said(value)}" for key, value in _unread(gguf_header.read(file).metadata, config)]
    return (f"settings of the file that are ignored: {listed(unread)}",) if unread else ()


def _unread(metadata: Mapping[str, Value], config: PreTrainedConfig) -> Iterator[tuple[str, Value]]:
    prefix = f"{metadata.get('general.architecture')}."
    held = _leaves(config)
    for key, value in metadata.items():
        name = key.removeprefix(prefix)
        is_setting = key.startswith(prefix) and name not in _SIZES and not name.startswith(_STATES)
        if is_setting and not _is_off(value) and not _is_held(value, held, _IN_CONFIG.get(name, ())):
            yield key, value
        if key in _ENDS and not _is_held(value, held, ("eos_token_id",)):
            yield key, value


def _leaves(config: PreTrainedConfig) -> list[tuple[str, Any]]:
    """Every setting of the config, nested ones too, and how many dimensions of a head are rotated."""
    text = config.get_text_config()
    found = list(_flat(text.to_dict()))
    heads = getattr(text, "num_attention_heads", None) or 1
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    parts = [value for name, value in found if name == "partial_rotary_factor" and value] or [1]
    return [*found, *(("rotary_dim", int(head * part)) for part in parts)]


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield from ((name, each) for each in (value if isinstance(value, list) else [value]))


def _is_held(value: Value, held: list[tuple[str, Any]], names: tuple[str, ...]) -> bool:
    return any(_is_same(value, found) for name, found in held if name in names)


def _is_same(value: Value, found: Any) -> bool:
    """As numbers of the file's precision, or as text."""
    if isinstance(value, int | float) and isinstance(found, int | float):
        return math.isclose(value, found, rel_tol=1e-5)
    return bool(value == found)


def _is_off(value: Value) -> bool:
    """Whether it changes nothing: no window, no scaling, a factor of one."""
    return value in (0, "", "none") or (isinstance(value, float) and value == 1)


def _said(value: Value) -> str:
    if isinstance(value, Array):
        return f"({value.length} values)"
    return f"{value:g}" if isinstance(value, float) else str(value)[:80]
