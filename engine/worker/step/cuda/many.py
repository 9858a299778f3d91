"""int4 matrices and more rows than decoding has: which kernel, tiles, buffers. Knows no layers and no models.

A product of few rows waits for weights: half a byte each here, two in bf16. `multiplied` reads them as they
are held, and makes them numbers again for every tile of rows; `dequantized` makes them numbers once, for the
libraries' product, and costs 4.5 bytes a weight: 0.5 read, 2 written, 2 read.

Where they meet, on paper, in ms for the 7·10⁹ weights of an 8B model's layers. A tile of 64 rows takes
8 instructions a weight on Hopper and 15 before, and the tensor cores at 0.6 of their peak; the libraries
have them at 0.8:

| GPU, TB/s | dequantizing, once | a tile: numbers + product | a tile, libraries' product | equal at |
|---|--:|--:|--:|--:|
| H100, 3.35 | 9.4 | 1.9 + 1.5 | 1.1 | 260 rows |
| A100, 1.9 | 16.6 | 5.3 + 4.8 | 3.6 | 160 rows |
| RTX 4090, 1.0 | 31 | 2.5 + 9.1 | 6.8 | 420 rows |

Two whole tiles are below all of them. None of it was measured.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from engine.worker.step.cuda.kernels import COMPILED, tiles
from engine.worker.step.cuda.kernels.matrix import Matrix

MOST_ROWS = 128
"""That `multiplied` is meant for: two of the widest tiles, see above."""
HALVES = (torch.bfloat16, torch.float16)
"""Dtypes that tensor cores multiply as they are."""
PROGRAMS = 2  # for each of the device's processors: below that, programs share the columns of a tile
LEAST_COLUMNS = 512  # for each of them
PROCESSORS = 2  # where kernels are interpreted
HOW = {"num_warps": 4, **COMPILED}
WRITTEN = 8192  # numbers that a program of `dequantized` makes
LEAST_BLOCK = 32  # columns, of a tile


class Tile(NamedTuple):
    """What a program multiplies at once: rows of x, outputs, columns at most; and loads under way."""

    batch: int
    rows: int
    columns: int
    stages: int


TILES = (Tile(16, 64, 128, 4), Tile(32, 128, 64, 3), Tile(64, 128, 64, 3))
"""By the rows that they are made for: at most their own number, the last one for any."""


def tile_of(rows: int) -> Tile:
    """The narrowest that holds so many rows of x, or the widest."""
    return next((tile for tile in TILES if rows <= tile.batch), TILES[-1])


def can_multiply(columns: int, group: int, dtype: torch.dtype) -> bool:
    """Whether `multiplied` has a kernel for such a matrix."""
    return dtype in HALVES and _block(columns, group, LEAST_BLOCK) == LEAST_BLOCK


def multiplied(x: Tensor, matrix: Matrix, group: int) -> Tensor:
    """x [batch, columns], in the matrix's order of columns, by an int4 matrix: [batch, matrix.rows]."""
    batch, columns = x.shape
    tile = tile_of(batch)
    down, across = -(-matrix.rows // tile.rows), -(-batch // tile.batch)
    splits = _splits(down * across, columns, x.device)
    out = x.new_empty(batch, matrix.rows)
    partial = x.new_empty(down * across * splits * tile.rows * tile.batch * (splits > 1), dtype=torch.float32)
    sizes = {"ROWS": tile.rows, "B": tile.batch, "BLOCK": _block(columns, group, tile.columns)}
    given = x, out, partial, _arrived(x.device), batch, splits, columns, group, matrix._replace(order=None)
    tiles.tiled[(across, down, splits)](*given, **sizes, **HOW, num_stages=tile.stages)
    return out


def dequantized(matrix: Matrix, columns: int, group: int, dtype: torch.dtype) -> Tensor:
    """[matrix.rows, columns], in the matrix's order of columns."""
    out = torch.empty((matrix.rows, columns), dtype=dtype, device=matrix.weights.device)
    sub = _block(columns, group, 64)
    parts = WRITTEN // sub
    grid = (-(-out.numel() // (sub * parts)),)
    weights = matrix._replace(order=None, bias=None)  # what a kernel has no use for it is compiled again for
    tiles.dequantize[grid](out, columns, group, weights, SUB=sub, PARTS=parts, **HOW)
    return out


def _splits(tiles: int, columns: int, device: torch.device) -> int:
    """Programs a tile, so that each of the device's processors has some."""
    return max(1, min(-(-PROGRAMS * _processors(device) // tiles), columns // LEAST_COLUMNS))


def _block(columns: int, group: int, most: int) -> int:
    """Columns that have one scale: the largest power of two up to `most` that divides both."""
    common = math.gcd(columns, group)
    return min(most, common & -common)


@cache
def _processors(device: torch.device) -> int:
    return (
        torch.cuda.get_device_properties(device).multi_processor_count
        if device.type == "cuda"
        else PROCESSORS
    )


@cache
def _arrived(device: torch.device) -> Tensor:
    """Zeros, one a tile that is shared; kernels leave them so. What is shared at all is less than a wave."""
    return torch.zeros(PROGRAMS * _processors(device), dtype=torch.int32, device=device)
