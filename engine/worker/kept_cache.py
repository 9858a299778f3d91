"""The last request's KV cache, kept for a next one that begins with the same tokens.

One cache at most. Owns the comparison of tokens; must not know models or the wire.
"""

from collections.abc import Sequence

from transformers import DynamicCache, PreTrainedConfig

from engine.worker.growing_cache import GrowingLayer, growing_cache


class KeptCache:
    """Hands the cache out for a request and takes it back afterwards; one that fails does not return it."""

    def __init__(self) -> None:
        self._cache: DynamicCache | None = None
        self._token_ids: list[int] = []

    def take(self, token_ids: Sequence[int], config: PreTrainedConfig) -> DynamicCache:
        """A cache that holds the beginning of `token_ids`, though never all: one token is left to compute.

        Without a common beginning, or where a layer forgets and cannot be cropped, it is a new one.
        """
        cache, self._cache = self._cache, None
        reused = min(common_prefix(self._token_ids, token_ids), len(token_ids) - 1)
        if cache is None or reused <= 0 or not all(type(layer) is GrowingLayer for layer in cache.layers):
            return growing_cache(config)
        cache.crop(reused - cache.get_seq_length())
        return cache

    def keep(self, cache: DynamicCache, token_ids: Sequence[int]) -> None:
        """Take a cache that has read the first of these tokens, as many as it holds."""
        self._cache, self._token_ids = cache, list(token_ids[: cache.get_seq_length()])

    def drop(self) -> None:
        """Give the memory back."""
        self._cache, self._token_ids = None, []


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(a), len(b)))
