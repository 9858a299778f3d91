"""Calibration: texts tokenized and joined into samples of equal length.

Nothing longer than the model's window reaches the tokenizer in one piece, and nothing is skipped: what does
not fill a sample is the last, shorter one. Knows tokenizers; knows neither models nor quantizers.
"""

import hashlib
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from engine.config.texts import Calibration
from engine.errors import LoadError
from engine.worker.texts.sets import Texts
from engine.worker.texts.tokens import beginning, token_stream


@dataclass(frozen=True, slots=True)
class Samples:
    """Token ids, in samples of `length` and maybe a shorter last one."""

    token_ids: list[list[int]]
    requested: int
    """Tokens that were requested."""

    @property
    def tokens(self) -> int:
        """How many there are."""
        return sum(len(sample) for sample in self.token_ids)

    @property
    def sha256(self) -> str:
        """Of all ids, as little-endian 32-bit integers."""
        ids = [token_id for sample in self.token_ids for token_id in sample]
        return hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()


def samples(
    calibration: Calibration, texts: Texts, tokenizer: PreTrainedTokenizerBase, window: int
) -> Samples:
    """As many samples as are requested, or as the texts give; each begins as the tokenizer begins a text.

    `window` is the longest text the model takes, in tokens. LoadError where the requested length is longer.
    """
    if window and calibration.length > window:
        raise LoadError(
            f"calibration.length is {calibration.length}, but the model's context window has {window} tokens",
            f"`length: {min(window, 512)}` is plenty",
        )
    ids = token_stream(_in_order(texts.texts, calibration.seed), texts.between, tokenizer, window)
    found = _samples(ids, beginning(tokenizer), calibration)
    if not found:
        raise LoadError(f"the calibration text ({calibration.name}) has no tokens")
    return Samples(found, calibration.samples * calibration.length)


def of_equal_length(found: Samples) -> Samples:
    """Without a shorter last one, unless it is all there is."""
    length = len(found.token_ids[0])
    return Samples([each for each in found.token_ids if len(each) == length], found.requested)


def note(found: Samples, calibration: Calibration, widest: int) -> str:
    """How much was used; with a warning where that is fewer tokens than the widest layer has inputs."""
    used = f"calibrated with {found.tokens} tokens of {calibration.name}"
    if found.tokens < widest:
        return (
            f"{used}, fewer than the widest layer has inputs ({widest}): "
            "the result may fit this text and do worse on others"
        )
    return f"{used}; {found.requested} were requested" if found.tokens < found.requested else used


def _in_order(texts: Sequence[str], seed: int) -> list[str]:
    order = list(texts)
    random.Random(seed).shuffle(order)
    return order


def _samples(ids: Iterator[int], begin: list[int], calibration: Calibration) -> list[list[int]]:
    found: list[list[int]] = []
    sample = list(begin)
    for token_id in ids:
        if len(sample) == calibration.length:
            found.append(sample)
            sample = list(begin)
        if len(found) == calibration.samples:
            return found
        sample.append(token_id)
    return [*found, sample] if len(sample) > len(begin) else found
