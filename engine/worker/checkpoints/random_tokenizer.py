"""A tokenizer for models of random weights: bytes in, bytes or visible placeholders out.

Owns the vocabulary: ids below 256 are bytes, the others read ` ⟨1234⟩`. It depends on the vocabulary's size
alone, so shapes of one size share it. No chat template, no special tokens: raw completion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BYTES = 256


def random_tokenizer(vocabulary_size: int, context_length: int) -> PreTrainedTokenizerBase:
    """Covers every id of a model with `vocabulary_size` ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {_spelling(text): number for number, text in enumerate(_texts(vocabulary_size))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=context_length, clean_up_tokenization_spaces=False
    )


def _texts(vocabulary_size: int) -> list[bytes]:
    placeholders = [f" ⟨{number}⟩".encode() for number in range(BYTES, vocabulary_size)]
    return [bytes([byte]) for byte in range(BYTES)] + placeholders


def _spelling(text: bytes) -> str:
    """Bytes in the alphabet of byte-level tokenizers, where every byte is one visible character (GPT-2)."""
    return "".join(_ALPHABET[byte] for byte in text)


def _alphabet() -> list[str]:
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(BYTES) if byte not in visible]
    return [chr(byte if byte in visible else BYTES + hidden.index(byte)) for byte in range(BYTES)]


_ALPHABET = _alphabet()
