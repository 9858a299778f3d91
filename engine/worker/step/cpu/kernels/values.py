"""Numbers in memory as compiled code sees them: addresses, bf16 and its rounding, and the layout of inputs.

Knows neither matrices nor models.
"""

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

ADDRESS = np.uint64
COUNT = np.int64
BLOCK = 16
"""Rows that one thread computes together."""
SUMS = {"reassoc", "contract", "nsz", "arcp"}  # sums in any order; infinities stay what they are
_BF16_HALF, _BF16_MASK = np.uint32(0x7FFF), np.uint32(0xFFFF0000)


def pointer(kind: types.Type) -> Any:
    """A function from an address to a pointer to values of this type."""

    @intrinsic
    def at(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(address), generate

    return at


bf16_at, float32_at = pointer(types.uint16), pointer(types.float32)
uint32_at, int8_at = pointer(types.uint32), pointer(types.int8)
int16_at, int32_at = pointer(types.int16), pointer(types.int32)


@njit(inline="always")
def round_bf16(x: Any) -> Any:
    """Rounded to bf16, ties to even, kept as float32."""
    bits = np.float32(x).view(np.uint32)
    bits = np.uint32(bits + _BF16_HALF + ((bits >> np.uint32(16)) & np.uint32(1)))
    return np.uint32(bits & _BF16_MASK).view(np.float32)


@njit(inline="always")
def to_float32(bits: Any) -> Any:
    """A bf16 as float32."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@njit(inline="always")
def to_bf16(x: Any) -> Any:
    """A float32 that is exactly a bf16, as its 16 bits."""
    return np.uint16(np.float32(x).view(np.uint32) >> np.uint32(16))


@njit(inline="always")
def upper_to_float32(bits: Any) -> Any:
    """The upper of two bf16 in a word, as float32; `to_float32` gives the lower one."""
    return np.uint32(bits & _BF16_MASK).view(np.float32)


@njit(inline="always")
def row_range(count: Any, thread: Any, threads: Any) -> Any:
    """The range [begin, end) of the rows, or columns, that one thread computes: whole blocks."""
    blocks = (count + BLOCK - 1) // BLOCK
    return BLOCK * (blocks * thread // threads), min(count, BLOCK * (blocks * (thread + 1) // threads))


@njit(inline="always")
def row_address(base: Any, row_bytes: Any, number: Any) -> Any:
    """The address of a row."""
    return base + np.uint64(row_bytes * number)


@njit(inline="always")
def element_address(base: Any, width: Any, seq: Any, column: Any) -> Any:
    """The address of an element of float32 [sequences, width] that begin at `base`."""
    return base + np.uint64(4 * (seq * width + column))


@njit
def by_parity(address: Any, batch: Any, size: Any) -> Any:
    """Views for [batch, size] values split by parity of their index: two arrays [batch, size / 2]."""
    pairs = size // 2
    even = carray(float32_at(address), (batch, pairs))
    return even, carray(float32_at(address + np.uint64(4 * batch * pairs)), (batch, pairs))


@njit
def store_bf16(x: Any, address: Any) -> None:
    """Store values [batch, size], which are exactly bf16, as bf16 at an address."""
    batch, size = x.shape
    values = carray(bf16_at(address), (batch, size))
    for seq in range(batch):
        for i in range(size):
            values[seq, i] = to_bf16(x[seq, i])


@njit
def store_by_parity(x: Any, address: Any) -> None:
    """Store values [batch, size] split by parity at an address."""
    batch, size = x.shape
    even, odd = by_parity(address, batch, size)
    for seq in range(batch):
        for pair in range(size // 2):
            even[seq, pair], odd[seq, pair] = x[seq, 2 * pair], x[seq, 2 * pair + 1]
