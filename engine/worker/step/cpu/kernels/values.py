"""Numbers in memory as compiled code has them: addresses, bf16 and its rounding, and how values are laid out.

Knows neither matrices nor models.
"""

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

ADDRESS = np.uint64
COUNT = np.int64
BLOCK = 16
"""Rows that one thread takes together."""
SUMS = {"reassoc", "contract", "nsz", "arcp"}  # sums in any order; infinities stay what they are
_BF16_HALF, _BF16_MASK = np.uint32(0x7FFF), np.uint32(0xFFFF0000)


def pointer(kind: types.Type) -> Any:
    """A function from an address to a pointer at values of this kind."""

    @intrinsic
    def at(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(address), generate

    return at


bf16_at, floats_at = pointer(types.uint16), pointer(types.float32)
pairs_at, bytes_at = pointer(types.uint32), pointer(types.int8)
shorts_at, integers_at = pointer(types.int16), pointer(types.int32)


@njit(inline="always")
def rounded(x: Any) -> Any:
    """To bf16, ties to even, kept as float32."""
    bits = np.float32(x).view(np.uint32)
    bits = np.uint32(bits + _BF16_HALF + ((bits >> np.uint32(16)) & np.uint32(1)))
    return np.uint32(bits & _BF16_MASK).view(np.float32)


@njit(inline="always")
def wide(bits: Any) -> Any:
    """A bf16 as float32."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@njit(inline="always")
def narrow(x: Any) -> Any:
    """A float32 that holds a bf16, as that."""
    return np.uint16(np.float32(x).view(np.uint32) >> np.uint32(16))


@njit(inline="always")
def upper(bits: Any) -> Any:
    """The upper of two bf16 in a word, as float32; the lower one is `wide`."""
    return np.uint32(bits & _BF16_MASK).view(np.float32)


@njit(inline="always")
def share(count: Any, thread: Any, threads: Any) -> Any:
    """First and behind the last of the rows, or columns, that one thread of many does: whole blocks."""
    blocks = (count + BLOCK - 1) // BLOCK
    return BLOCK * (blocks * thread // threads), min(count, BLOCK * (blocks * (thread + 1) // threads))


@njit(inline="always")
def row_at(at: Any, row_bytes: Any, number: Any) -> Any:
    """The address of one row of many."""
    return at + np.uint64(row_bytes * number)


@njit(inline="always")
def place_at(places: Any, width: Any, of: Any, column: Any) -> Any:
    """The address of one of many float32 [some, width] that begin at `places`."""
    return places + np.uint64(4 * (of * width + column))


@njit
def by_parity(address: Any, batch: Any, size: Any) -> Any:
    """Room for [batch, size] values apart by parity: two arrays [batch, size / 2]."""
    pairs = size // 2
    even = carray(floats_at(address), (batch, pairs))
    return even, carray(floats_at(address + np.uint64(4 * batch * pairs)), (batch, pairs))


@njit
def one_after_another(x: Any, at: Any) -> None:
    """Values [batch, size] that are bf16, as that, to an address."""
    batch, size = x.shape
    values = carray(bf16_at(at), (batch, size))
    for of in range(batch):
        for i in range(size):
            values[of, i] = narrow(x[of, i])


@njit
def apart(x: Any, at: Any) -> None:
    """Values [batch, size] by parity, to an address."""
    batch, size = x.shape
    even, odd = by_parity(at, batch, size)
    for of in range(batch):
        for pair in range(size // 2):
            even[of, pair], odd[of, pair] = x[of, 2 * pair], x[of, 2 * pair + 1]
