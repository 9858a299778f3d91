"""LLVM's builder, with the few operations on vectors of 512 bits that the kernels use.

Owns the names of instructions. Must not know what is computed with them.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

LANES = 16
F32, I16, I32, I64 = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
FLOATS, WORDS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
BYTES = ir.VectorType(ir.IntType(8), 2 * LANES)
HALVES, HALF_OF_THEM = ir.VectorType(I16, 2 * LANES), ir.VectorType(I16, LANES)
ZERO = ir.Constant(FLOATS, [0.0] * LANES)

Values = Sequence[Any]


class Code:
    """LLVM's builder, with the vector operations that the kernels use. Addresses and counts are 64-bit."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def number(self, value: int) -> Any:
        """A constant."""
        return ir.Constant(I64, value)

    def times(self, count: Any, factor: int) -> Any:
        """count × factor."""
        return self._builder.mul(count, self.number(factor))

    def element(self, address: Any, stride: Any, index: int, offset: Any) -> Any:
        """address + stride × index + offset."""
        row = self._builder.add(address, self._builder.mul(stride, self.number(index)))
        return self._builder.add(row, self.number(offset) if isinstance(offset, int) else offset)

    def load(self, kind: Any, address: Any, alignment: int) -> Any:
        """The value at an address."""
        loaded = self._builder.load(self._builder.inttoptr(address, kind.as_pointer()))
        loaded.align = alignment
        return loaded

    def store(self, value: Any, address: Any) -> None:
        """Store one or more numbers at an address."""
        self._builder.store(value, self._builder.inttoptr(address, value.type.as_pointer())).align = 2

    def variable(self) -> Any:
        """16 sums, initialized to 0."""
        return cgutils.alloca_once_value(self._builder, ZERO)

    def clear(self, variables: Values) -> None:
        """Reset to 0."""
        for variable in variables:
            self._builder.store(ZERO, variable)

    def splat(self, value: Any, kind: Any) -> Any:
        """The same in every lane."""
        nothing, first = ir.Constant(kind, ir.Undefined), ir.Constant(I32, 0)
        inserted = self._builder.insert_element(nothing, value, first)
        return self._builder.shuffle_vector(
            inserted, nothing, ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count)
        )

    def load_bf16(self, address: Any) -> Any:
        """16 bf16 at an address, as float32."""
        halves = self._builder.zext(self.load(HALF_OF_THEM, address, 2), WORDS)
        return self._builder.bitcast(self._builder.shl(halves, ir.Constant(WORDS, [16] * LANES)), FLOATS)

    def pairs_to_float32(self, pairs: Any) -> tuple[Any, Any]:
        """The lower and the upper bf16 of each word, as float32."""
        lower = self._builder.shl(pairs, ir.Constant(WORDS, [16] * LANES))
        upper = self._builder.and_(pairs, ir.Constant(WORDS, [0xFFFF0000] * LANES))
        return self._builder.bitcast(lower, FLOATS), self._builder.bitcast(upper, FLOATS)

    def to_bf16(self, floats: Any) -> Any:
        """16 float32 as bf16, ties to even."""
        bits, sixteen = self._builder.bitcast(floats, WORDS), ir.Constant(WORDS, [16] * LANES)
        odd = self._builder.and_(self._builder.lshr(bits, sixteen), ir.Constant(WORDS, [1] * LANES))
        bits = self._builder.add(self._builder.add(bits, ir.Constant(WORDS, [0x7FFF] * LANES)), odd)
        return self._builder.trunc(self._builder.lshr(bits, sixteen), HALF_OF_THEM)

    def lookup(self, table: Any, packed: Any, bits: int) -> Any:
        """The four bits from `bits` on of each half word, as the bf16 that the table has for them.

        VPERMW takes five bits; the table is repeated, so the fifth does not matter.
        """
        shifted = self._builder.lshr(packed, ir.Constant(WORDS, [bits] * LANES)) if bits else packed
        indices = self._builder.bitcast(shifted, HALVES)
        permute = self._function("llvm.x86.avx512.permvar.hi.512", HALVES, HALVES, HALVES)
        return self._builder.bitcast(self._builder.call(permute, [table, indices]), WORDS)

    def table(self, values: Iterable[int]) -> Any:
        """16 small integers as bf16, twice, for `lookup`."""
        bits = [struct.unpack("<I", struct.pack("<f", value))[0] >> 16 for value in values]
        return ir.Constant(HALVES, [*bits, *bits])

    def int16_dots(self, a: Any, b: Any) -> Any:
        """Products of 32 int16 each, with neighbours added: 16 int32."""
        multiply = self._function("llvm.x86.avx512.pmaddw.d.512", WORDS, HALVES, HALVES)
        return self._builder.call(multiply, [a, b])

    def reduce_add_int32(self, integers: Any) -> Any:
        """The sum of 16 int32 lanes."""
        add = self._function("llvm.vector.reduce.add.v16i32", I32, WORDS)
        return self._builder.call(add, [integers])

    def add_bf16_dots(self, total: Any, a: Any, b: Any) -> None:
        """total += a · b of bf16, pairs added (VDPBF16PS)."""
        multiply = self._function("llvm.x86.avx512bf16.dpbf16ps.512", FLOATS, FLOATS, WORDS, WORDS)
        self._builder.store(self._builder.call(multiply, [self._builder.load(total), a, b]), total)

    def add_product(self, total: Any, a: Any, b: Any) -> None:
        """total += a · b of float32."""
        product = self._builder.fmul(a, b, flags=["contract"])
        self._builder.store(self._builder.fadd(self._builder.load(total), product, flags=["contract"]), total)

    def sum_lanewise(self, variables: Values) -> Any:
        """The sum of all of them, lane by lane."""
        total = self._builder.load(variables[0])
        for variable in variables[1:]:
            total = self._builder.fadd(total, self._builder.load(variable))
        return total

    def reduce_add(self, floats: Any) -> Any:
        """The sum of 16 float32 lanes."""
        add = self._function("llvm.vector.reduce.fadd.v16f32", F32, F32, FLOATS)
        return self._builder.call(add, [ir.Constant(F32, 0.0), floats], fastmath=["reassoc"])

    def _function(self, name: str, result: Any, *arguments: Any) -> Any:
        return cgutils.get_or_insert_function(self._builder.module, ir.FunctionType(result, arguments), name)
