"""The last request's KV cache, kept for a next one that begins with the same tokens.

One cache at most. Owns the comparison of tokens; must not know models or the wire.
"""

from collections.abc import Sequence

from transformers import PreTrainedConfig

from engine.worker.growing_cache import LEAST_ROOM_TOKENS, GrowingCache, GrowingLayer, growing_cache

MOST_EXPECTED = 512  # new tokens that room is made for beforehand


class KeptCache:
    """Hands the cache out for a request and takes it back afterwards; one that fails does not return it."""

    def __init__(self) -> None:
        self._cache: GrowingCache | None = None
        self._token_ids: list[int] = []

    def take(self, token_ids: Sequence[int], config: PreTrainedConfig, new_tokens: int = 0) -> GrowingCache:
        """A cache that holds the beginning of `token_ids`, though never all: one token is left to compute.

        Without a common beginning, or where a layer forgets and cannot be cropped, it is an empty one, which
        may expect `new_tokens` more.
        """
        reused = min(common_prefix(self._token_ids, token_ids), len(token_ids) - 1)
        if self._cache is None or reused <= 0 or not _can_be_cropped(self._cache):
            return self.empty(config, 1, len(token_ids) + min(new_tokens, MOST_EXPECTED))
        cache, self._cache = self._cache, None
        cache.crop(reused - cache.get_seq_length())
        return cache

    def empty(self, config: PreTrainedConfig, batch: int, expected_tokens: int) -> GrowingCache:
        """An empty cache: the kept one with what was captured for its rooms where those fit, or a new one."""
        cache, self._cache = self._cache, None
        if cache is None or not _fits(cache, batch, expected_tokens):
            return growing_cache(config, expected_tokens)
        cache.crop(-cache.get_seq_length())
        return cache

    def keep(self, cache: GrowingCache, token_ids: Sequence[int]) -> None:
        """Take a cache that has read the first of these tokens, as many as it holds."""
        self._cache, self._token_ids = cache, list(token_ids[: cache.get_seq_length()])

    def drop(self) -> None:
        """Give the memory back."""
        self._cache, self._token_ids = None, []


def _can_be_cropped(cache: GrowingCache) -> bool:
    return all(type(layer) is GrowingLayer for layer in cache.layers)


def _fits(cache: GrowingCache, batch: int, tokens: int) -> bool:
    """Whether something was made for these rooms, and they are large enough and not far too large."""
    first = cache.layers[0]
    if cache.made_for_rooms is None or not isinstance(first, GrowingLayer):
        return False
    rooms, _, room, _ = first.key_room.shape
    return rooms == batch and tokens <= room <= 4 * max(tokens, LEAST_ROOM_TOKENS)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(a), len(b)))
