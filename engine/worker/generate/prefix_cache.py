"""The last request's KV cache, kept for a next one that begins with the same tokens.

Where a step was captured for a cache's buffers, both are kept for other requests too, and so is one more
cache of another size. Owns the comparison of tokens; must not know models or the wire.
"""

from collections.abc import Sequence

from transformers import PreTrainedConfig

from engine.config import runtime
from engine.config.runtime import CacheDtype
from engine.worker import step
from engine.worker.step import GrowingCache

MOST_KEPT = 2  # caches whose steps are captured


class KeptCache:
    """Hands a cache out for a request and takes it back afterwards; one that fails does not return it."""

    def __init__(self, dtype: CacheDtype = "auto") -> None:
        self.dtype = dtype
        """How its caches hold keys and values: what the model's profile says."""
        self._caches: list[GrowingCache] = []  # the last one first
        self._token_ids: list[int] = []  # what it holds

    def take(
        self, token_ids: Sequence[int], config: PreTrainedConfig, new_tokens: int = 0, *, cold: bool = False
    ) -> GrowingCache:
        """A cache that holds a prefix of `token_ids`, but never all: one token is left to compute.

        For a cold request, without a common prefix, or where the cache cannot be cropped back to it,
        it is an empty one. `new_tokens` more are expected.
        """
        expected = len(token_ids) + min(new_tokens, runtime.MOST_EXPECTED_TOKENS)
        reused = 0 if cold else min(common_prefix(self._token_ids, token_ids), len(token_ids) - 1)
        if not self._caches or reused <= 0 or not _has_prefix(self._caches[0], len(token_ids)):
            return self.empty(config, 1, expected)
        last = self._caches[0]
        last.crop(reused - last.get_seq_length())
        if last.captured_step is not None and last.capacity_tokens < expected:
            return last.copied_to(self.empty(config, 1, expected))
        self._token_ids = []
        return self._caches.pop(0)

    def empty(self, config: PreTrainedConfig, batch: int, expected_tokens: int) -> GrowingCache:
        """An empty cache: a kept one with its captured step where its capacity fits, or a new one."""
        self._caches = [cache for cache in self._caches if cache.captured_step is not None]
        self._token_ids = []
        fitting = [cache for cache in self._caches if _fits(cache, batch, expected_tokens)]
        if not fitting:
            del self._caches[MOST_KEPT - 1 :]
            return step.new_cache(config, expected_tokens, self.dtype)
        found = min(fitting, key=lambda cache: cache.capacity_tokens)
        self._caches.remove(found)
        found.crop(-found.get_seq_length())
        return found

    def keep(self, cache: GrowingCache, token_ids: Sequence[int]) -> None:
        """Take back a cache that has read the first of these tokens, as many as it holds."""
        others = [other for other in self._caches if other.captured_step is not None]
        self._caches = [cache, *others][:MOST_KEPT]
        self._token_ids = list(token_ids[: cache.get_seq_length()])

    def drop(self) -> None:
        """Free the memory."""
        self._caches, self._token_ids = [], []


def _has_prefix(cache: GrowingCache, tokens: int) -> bool:
    """Whether the prefix of a prompt of `tokens` tokens is in it just as a cold read would compute it."""
    return cache.can_be_cropped() and tokens <= cache.stable_tokens


def _fits(cache: GrowingCache, batch: int, tokens: int) -> bool:
    """Whether its capacity is large enough and not far too large."""
    most = 4 * max(tokens, runtime.LEAST_GPU_CAPACITY)
    return cache.has_batch(batch) and tokens <= cache.capacity_tokens <= most


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """The length of the longest common prefix."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(a), len(b)))
