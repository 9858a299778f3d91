"""What transformers knows of a kind of model besides its config.json: other names, defaults, kinds of layers.

families.json is written out of transformers' own configs by docs/write_families.py, so that a plan, without
torch, completes a config as a load does.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

Config = Mapping[str, Any]  # JSON as it came

FILE = Path(__file__).parent / "families.json"
KEYS = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "num_kv_heads",
    "multi_query",
    "new_decoder_architecture",
    "head_dim",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "kv_lora_rank",
    "intermediate_size",
    "max_position_embeddings",
    "vocab_size",
    "tie_word_embeddings",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "attention_chunk_size",
    "num_kv_shared_layers",
    "num_local_experts",
    "num_experts",
    "n_routed_experts",
)
"""What a plan asks a config for, by transformers' usual names."""
WINDOW_NAMES = (
    "max_seq_len",
    "n_positions",
    "model_max_length",
    "max_sequence_length",
    "seq_length",
    "n_ctx",
)
"""Of the context window, where `max_position_embeddings` is not its name."""
_UNKNOWN_KINDS = {  # models of code that comes with them: the names that have been in use
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers", "decoder_layers"),
    "hidden_size": ("n_embd", "d_model", "dim"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads", "attention_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_kv_heads", "multi_query_group_num"),
    "intermediate_size": ("ffn_dim", "n_inner", "ffn_hidden_size"),
    "max_position_embeddings": WINDOW_NAMES,
    "vocab_size": ("padded_vocab_size",),
}


def text_config(config: Config) -> Config:
    """The part about text, of a model that knows more than text, with its kind."""
    inner = config.get("text_config")
    if not isinstance(inner, dict):
        return config
    said = inner.get("model_type") or of(config).get("text") or config.get("model_type")
    shared = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
    return {**shared, **inner, "model_type": said}


def of(config: Config) -> Mapping[str, Any]:
    """What is known of the config's kind; nothing of one that transformers does not know."""
    kind = config.get("model_type")
    found: Mapping[str, Any] = _all().get(kind, {}) if isinstance(kind, str) else {}
    return found


def completed(config: Config) -> dict[str, Any]:
    """The text part by the usual names, with the defaults that transformers would take; null stays null."""
    text = text_config(config)
    family = of(text)
    if not family:
        return {**_first_of(text), **text}
    names = family.get("names", {})
    renamed = {ours: text[theirs] for ours, theirs in names.items() if theirs in text}
    return {**family.get("defaults", {}), **text, **renamed}


def heeds(text: Config, key: str) -> bool:
    """Whether a completed config says this, and its kind of model looks at it."""
    family = of(text)
    return text.get(key) is not None and (not family or key in family["defaults"])


def _first_of(text: Config) -> dict[str, Any]:
    """What a config of an unknown kind says under other names."""
    found = {ours: [text[name] for name in names if name in text] for ours, names in _UNKNOWN_KINDS.items()}
    return {ours: values[0] for ours, values in found.items() if values}


@lru_cache(maxsize=1)
def _all() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_bytes())
    return found
