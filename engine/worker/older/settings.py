"""Settings files as transformers 5 writes them, in the words of 4. Pure: knows neither package.

transformers 4 would read a config of 5 without an error and without its RoPE, and finds no such tokenizer.
"""

from typing import Any

from engine.errors import LoadError

Settings = dict[str, Any]
TOKENIZER = "PreTrainedTokenizerFast"  # any tokenizer.json, in 4
NEWER_TOKENIZERS = ("TokenizersBackend", "PythonBackend", "SentencePieceBackend")
ROPE, DTYPE, QUANTIZATION = "rope_parameters", "dtype", "quantization_config"


def older_config(config: Settings) -> Settings:
    """A config.json; one that 4 wrote stays as it is. LoadError where 4 has no words for it."""
    found = {
        key: older_config(value) if key.endswith("_config") and isinstance(value, dict) else value
        for key, value in config.items()
    }
    if DTYPE in found and "torch_dtype" not in found:
        found["torch_dtype"] = found[DTYPE]
    found.pop(DTYPE, None)
    if found.get(QUANTIZATION, {}) is None:
        del found[QUANTIZATION]
    rope = found.pop(ROPE, None)
    return {**found, **_older_rope(rope)} if isinstance(rope, dict) else found


def _older_rope(rope: Settings) -> Settings:
    if any(isinstance(value, dict) for value in rope.values()):
        raise LoadError(
            "the model's RoPE differs between types of layers, and transformers 4 cannot read such a config",
            "leave out `worker`, so that QuantDuel's own transformers reads it",
        )
    rest = {key: value for key, value in rope.items() if key not in {"rope_theta", "partial_rotary_factor"}}
    found = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if rope.get(key) is not None}
    return found if rest.get("rope_type", "default") == "default" else {**found, "rope_scaling": rest}


def older_tokenizer(config: Settings) -> Settings:
    """A tokenizer_config.json."""
    found = dict(config)
    if found.get("tokenizer_class") in NEWER_TOKENIZERS:
        found["tokenizer_class"] = TOKENIZER
    if isinstance(more := found.get("extra_special_tokens"), list):  # 4 knows names for them only
        del found["extra_special_tokens"]
        found["additional_special_tokens"] = [*found.get("additional_special_tokens", ()), *more]
    return found
