"""Texts as token ids, in pieces: nothing longer than the model's window reaches the tokenizer at once.

Knows tokenizers; knows neither models nor what the tokens are for.
"""

import re
from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

LONGEST_PIECE = 2048  # characters
TOKENS_PER_CHARACTER = 4  # at most: a byte-level tokenizer spends one on every byte of UTF-8


def beginning(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before any text, such as BOS."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    ids: list[int] = tokenizer("a")["input_ids"]
    return ids[: ids.index(plain[0])] if plain and plain[0] in ids else []


def token_stream(
    texts: Sequence[str], between: str, tokenizer: PreTrainedTokenizerBase, window: int
) -> Iterator[int]:
    """The token ids of all texts, one after the other, tokenized in short pieces."""
    longest = min(LONGEST_PIECE, max(1, (window or LONGEST_PIECE) // TOKENS_PER_CHARACTER))
    for text in texts:
        for piece in pieces(text + between, longest):
            yield from tokenizer(piece, add_special_tokens=False)["input_ids"]


def pieces(text: str, longest: int) -> Iterator[str]:
    """The text in pieces of at most `longest` characters, cut before whitespace where there is any."""
    start = 0
    while len(text) - start > longest:
        end = start + longest
        spaces = [found.start() for found in re.finditer(r"\s+", text[start:end]) if found.start()]
        end = start + spaces[-1] if spaces else end
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]
