"""Keys and values in 8 bits, and back: each token's key, and value, of a head has a scale of its own.

So what is held of a token depends on no other: not on the chunks in which a prompt was read, nor on the text
before. A scale is rounded to bf16 before it is used: that rounding loses nothing. Must not know the cache.
"""

from functools import lru_cache

import torch
from torch import Tensor

from engine.config.runtime import CacheDtype

LARGEST = {"int8": 127.0, "fp8": 448.0}
"""What the largest number of a head becomes."""
MOST_LOOKED_UP = 1 << 18  # codes of e4m3 at a time on a CPU: their index is a MiB
SMALLEST_SCALE = 1e-30  # of a head of zeros: nothing is divided by 0


def rounded(x: Tensor, dtype: CacheDtype) -> tuple[Tensor, Tensor]:
    """x [batch, heads, n, size] as codes of 8 bits, and scales [batch, heads, n, 1] in bf16.

    Codes of `fp8` are the bits of e4m3 as whole numbers, which every device copies.
    """
    largest = x.abs().amax(dim=-1, keepdim=True).float()
    scales = (largest / LARGEST[dtype]).clamp_(min=SMALLEST_SCALE).bfloat16()
    scaled = (x / scales.float()).clamp_(-LARGEST[dtype], LARGEST[dtype])
    if dtype == "int8":
        return scaled.round_().to(torch.int8), scales
    return scaled.to(torch.float8_e4m3fn).view(torch.uint8), scales


def restored(codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers that codes and scales stand for, in `dtype`: rounded once more, where that is coarser."""
    return _numbers(codes, dtype).mul_(scales)


def _numbers(codes: Tensor, dtype: torch.dtype) -> Tensor:
    """Codes as numbers: all of them are exact in 16 bits."""
    if codes.dtype == torch.int8:
        return codes.to(dtype)
    if codes.is_cuda:
        return codes.view(torch.float8_e4m3fn).to(dtype)
    return _looked_up(codes, _table(dtype))


def _looked_up(codes: Tensor, table: Tensor) -> Tensor:
    """The table's numbers at codes [batch, heads, n, size]: an index has 4 bytes a code, so few at a time."""
    found = torch.empty(codes.shape, dtype=table.dtype)
    tokens = max(1, MOST_LOOKED_UP * codes.shape[-2] // max(1, codes.numel()))
    for part, into in zip(codes.split(tokens, dim=-2), found.split(tokens, dim=-2), strict=True):
        into.copy_(table.index_select(0, part.reshape(-1).int()).view(part.shape))
    return found


@lru_cache
def _table(dtype: torch.dtype) -> Tensor:
    """All numbers of e4m3 by their bits, on a CPU, which converts them one by one otherwise."""
    return torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).to(dtype)
