"""A model's own forward pass over tokens that continue a cache, called as transformers' `generate` calls it.

Owns what is passed besides the tokens: their positions are always given, because some models do not use the
cache's length. Knows neither chunks nor requests.
"""

import inspect
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


def logits(model: PreTrainedModel, token_ids: Tensor, cache: DynamicCache, kept: int | None = None) -> Tensor:
    """Read `token_ids` [batch, n] into the cache; logits [batch, n, vocab], or of the last `kept` positions.

    A model that cannot leave out what is not `kept` computes and returns them all.
    """
    options, taken = {}, _taken(type(model).forward)
    if "position_ids" in taken:
        held = cache.get_seq_length()
        options["position_ids"] = torch.arange(held, held + token_ids.shape[1], device=token_ids.device)[None]
    if kept is not None and "logits_to_keep" in taken:
        options["logits_to_keep"] = kept
    found: Tensor = model(input_ids=token_ids, past_key_values=cache, use_cache=True, **options).logits
    return found


@lru_cache
def _taken(passed: Callable[..., object]) -> frozenset[str]:
    """The names of a forward pass's parameters."""
    return frozenset(inspect.signature(passed).parameters)
