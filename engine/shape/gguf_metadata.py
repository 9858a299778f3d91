"""What a GGUF file's metadata has to be for a reader to make a config and a tokenizer of it.

Owns the kinds of values of the keys that are read, and the line that names the key with another one. Knows
nothing of what the tensors say; keys that are not listed here are left to the reader.
"""

import math
from collections.abc import Iterator

from engine.shape.architecture import LARGEST_HIDDEN, LARGEST_VOCABULARY, MOST_HEADS, MOST_LAYERS
from engine.shape.boundary import LARGEST_NUMBER, UnsoundError
from engine.shape.gguf_header import Array, Value

HINT = "download the file again, or convert the model anew: its metadata is damaged"
_STATE_SPACE = ("mamba", "rwkv")
"""Kinds without attention, whose files say no heads: zero."""
_SIZES = {
    "block_count": MOST_LAYERS,
    "context_length": LARGEST_NUMBER,
    "embedding_length": LARGEST_HIDDEN,
    "rope.dimension_count": LARGEST_HIDDEN,
    "vocab_size": LARGEST_VOCABULARY,
}
_SIZES_BY_LAYER = {
    "attention.head_count": MOST_HEADS,
    "attention.head_count_kv": MOST_HEADS,
    "feed_forward_length": LARGEST_HIDDEN,
}
"""A number, or an array with one a layer. Each with the largest that is believed."""
_NUMBERS = ("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "rope.freq_base")
_TEXTS = ("tokenizer.chat_template", "tokenizer.ggml.model", "tokenizer.ggml.pre")
_TOKENS, _SCORES, _MERGES = "tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.merges"
_LISTS = {_TOKENS: "text", _SCORES: "number", "tokenizer.ggml.token_type": "number", _MERGES: "text"}
_A_TOKEN_EACH = (_SCORES, "tokenizer.ggml.token_type")
_TOKEN_IDS = ("bos", "eos", "padding", "unknown")


def require(metadata: dict[str, Value]) -> None:
    """UnsoundError for the first key that holds what it cannot hold."""
    for key, problem in _faults(metadata):
        raise UnsoundError(f"{key}: {problem}", HINT)


def require_tokenizer(metadata: dict[str, Value]) -> None:
    """UnsoundError where a key is missing without which there is no tokenizer."""
    needed = {"tokenizer.ggml.model", _TOKENS}
    if metadata.get("tokenizer.ggml.model") == "llama" and _MERGES not in metadata:
        needed.add(_SCORES)
    if lacking := sorted(needed - metadata.keys()):
        raise UnsoundError(f"{', '.join(lacking)} is missing: it has no complete tokenizer", HINT)


def _faults(metadata: dict[str, Value]) -> Iterator[tuple[str, str]]:
    kind = metadata.get("general.architecture")
    if not isinstance(kind, str) or not kind:
        yield "general.architecture", _expected("the model's architecture", kind)
        return
    least = 0 if kind.startswith(_STATE_SPACE) else 1
    for name, most in {**_SIZES, **_SIZES_BY_LAYER}.items():
        value = metadata.get(f"{kind}.{name}", least)
        is_list = isinstance(value, Array) and name in _SIZES_BY_LAYER
        if not is_list and not _is_whole(value, least, most):
            yield f"{kind}.{name}", _expected(f"a whole number from {least} to {most}", value)
    for key in (f"{kind}.{name}" for name in _NUMBERS):
        value = metadata.get(key, 0)
        if isinstance(value, bool | str | Array) or not math.isfinite(value) or value < 0:
            yield key, _expected("a finite number from 0 on", value)
    yield from _tokenizer_faults(metadata)


def _tokenizer_faults(metadata: dict[str, Value]) -> Iterator[tuple[str, str]]:
    for key, value in metadata.items():
        if key in _TEXTS and not isinstance(value, str):
            yield key, _expected("text", value)
        if key in _LISTS and not (isinstance(value, Array) and value.holds in (_LISTS[key], "nothing")):
            yield key, _expected(f"an array of {_LISTS[key]}s", value)
    tokens = _length(metadata.get(_TOKENS, 0))
    if _TOKENS in metadata and not tokens:
        yield _TOKENS, "is empty"
    for key in _A_TOKEN_EACH if tokens else ():
        if key in metadata and _length(metadata[key]) != tokens:
            yield key, f"has {_length(metadata[key])} values for {tokens} tokens"
    for key in (f"tokenizer.ggml.{name}_token_id" for name in _TOKEN_IDS):
        if tokens and key in metadata and not _is_whole(metadata[key], 0, tokens - 1):
            yield key, _expected(f"a token's id from 0 to {tokens - 1}", metadata[key])


def _is_whole(value: Value, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _length(value: Value) -> int:
    return value.length if isinstance(value, Array) else 0


def _expected(what: str, value: Value | None) -> str:
    return f"expected {what}, got {'nothing' if value is None else repr(value)[:40]}"
