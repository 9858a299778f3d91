"""Metadata of GGUF files that is damaged: one line names the key."""

from typing import Any

import pytest

from engine.errors import ShapeError
from engine.shape import gguf_metadata
from engine.shape.gguf_header import Array, Value

SOUND: dict[str, Value] = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.attention.head_count": Array(1, "number"),
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 10_000,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": Array(64, "text"),
    "tokenizer.ggml.scores": Array(64, "number"),
    "tokenizer.ggml.eos_token_id": 63,
    "tokenizer.chat_template": "",
}


def test_sound_metadata_is_let_through() -> None:
    gguf_metadata.require(SOUND)
    gguf_metadata.require_tokenizer(SOUND)
    gguf_metadata.require({"general.architecture": "mamba", "mamba.attention.head_count": 0})


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("general.architecture", 7, "expected the model's architecture, got 7"),
        ("llama.block_count", 0, "expected a whole number from 1 to 10000, got 0"),
        ("llama.block_count", Array(1, "number"), "got an array of 1"),
        ("llama.attention.head_count", 0, "got 0"),
        ("llama.embedding_length", 1 << 32, "got 4294967296"),
        ("llama.context_length", True, "got True"),
        (
            "llama.attention.layer_norm_rms_epsilon",
            float("nan"),
            "expected a finite number from 0 on, got nan",
        ),
        ("llama.rope.freq_base", "x" * 99, "got 'xxx"),
        ("tokenizer.ggml.pre", Array(2, "text"), "expected text, got an array of 2"),
        ("tokenizer.ggml.tokens", Array(0, "nothing"), "is empty"),
        ("tokenizer.ggml.tokens", Array(64, "number"), "expected an array of texts, got an array of 64"),
        ("tokenizer.ggml.scores", Array(61, "number"), "has 61 values for 64 tokens"),
        ("tokenizer.ggml.merges", "a b", "expected an array of texts, got 'a b'"),
        ("tokenizer.ggml.eos_token_id", 64, "expected a token's id from 0 to 63, got 64"),
        ("tokenizer.ggml.bos_token_id", -1, "got -1"),
    ],
)
def test_the_key_that_cannot_be_is_named(key: str, value: Any, problem: str) -> None:
    with pytest.raises(ShapeError) as caught:
        gguf_metadata.require(SOUND | {key: value})
    assert caught.value.message.startswith(f"{key}: ") and problem in caught.value.message
    assert len(caught.value.message) < 200 and "download the file again" in caught.value.hint


@pytest.mark.parametrize("key", ["tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.scores"])
def test_what_a_tokenizer_lacks_is_named(key: str) -> None:
    lacking = {name: value for name, value in SOUND.items() if name != key}
    gguf_metadata.require(lacking)
    with pytest.raises(ShapeError, match=f"{key} is missing"):
        gguf_metadata.require_tokenizer(lacking)
