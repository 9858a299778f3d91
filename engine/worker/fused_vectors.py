# ruff: noqa: PLR0913, PLR0917  # compiled functions are given numbers, not objects
"""Dot products of bf16, 8-bit and 4-bit weights with bf16 values, on processors that have AVX512_BF16.

Owns the vector instructions: LLVM code for loops that no compiler finds by itself. Sums are float32, as
VDPBF16PS takes them: two products at a time, denormals as zero. Knows addresses and counts; must not know
models.

Rows of bf16 and int8 weights lie as they were loaded. 4-bit weights lie in blocks of 16 rows, a vector's
lanes: word k of a row holds its weights 8k to 8k + 7, the even ones in the lower half, the odd ones in the
upper, so that a shift brings each pair to where VPERMW looks it up among 16 values.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

LANES = 16
PAIRS_IN_A_WORD = 4
_VECTOR_BYTES, _WORD_WEIGHTS = 64, 8
_NEEDED = ("+avx512bf16", "+avx512bw")

_F32, _I16, _I32, _I64 = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_FLOATS, _WORDS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)
_BYTES = ir.VectorType(ir.IntType(8), 2 * LANES)
_HALVES, _HALF_OF_THEM = ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I16, LANES)
_ZERO = ir.Constant(_FLOATS, [0.0] * LANES)

Values = Sequence[Any]


def are_available() -> bool:
    """Whether this processor has them, and the compiler was not told of another one."""
    is_told = numba.config.CPU_NAME or numba.config.CPU_FEATURES
    return not is_told and set(_NEEDED) <= set(get_host_cpu_features().split(","))


def row_dots(sequences: int) -> Any:
    """(weights, x, bytes a sequence, out, bytes a sequence, vectors): out[s] = x[s] · weights, float32.

    A row of bf16 weights has 32 × `vectors` columns, as has x. Rows are read one after the other: several
    at a time came from memory at half the speed.
    """
    count = 2 if sequences == 1 else 1  # sums at once for each sequence

    @intrinsic
    def dots(context: Any, weights: Any, x: Any, x_bytes: Any, out: Any, out_bytes: Any, vectors: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            weights, x, x_bytes, out, out_bytes, vectors = values
            code = _Code(builder)
            parts = [[code.variable() for _ in range(count)] for _ in range(sequences)]

            def add(vector: Any, part: int) -> None:
                at = code.times(vector, _VECTOR_BYTES)
                pairs = code.load(_WORDS, builder.add(weights, at), 2)
                for s, mine in enumerate(parts):
                    code.add_products(
                        mine[part], pairs, code.load(_WORDS, code.element(x, x_bytes, s, at), 2)
                    )

            rounds = builder.udiv(vectors, code.number(count))
            with cgutils.for_range(builder, rounds) as loop:
                for part in range(count):
                    add(builder.add(code.times(loop.index, count), code.number(part)), part)
            last = code.times(rounds, count)
            with cgutils.for_range(builder, vectors, last) as loop:
                add(loop.index, 0)
            for s, mine in enumerate(parts):
                code.store(code.sum_of(code.together(mine)), code.element(out, out_bytes, s, 0))
            return context.get_dummy_value()

        return types.void(weights, x, x_bytes, out, out_bytes, vectors), generate

    return dots


def nibble_dots(sequences: int, *, has_zeros: bool) -> Any:
    """(words, scales, zeros, codes, x, bytes a sequence, sums, out, bytes a sequence, groups, words a group).

    For the 16 rows r of a block out[s, r] = Σ scale · Σ code(weight) · x[s], and where there are zeros also
    each group's sum of x[s] times its zero. Scales and zeros are bf16 [groups, 16], sums float32
    [sequences, groups]; `codes` is 16 bf16 values, twice, at a multiple of 64.
    """
    count = 4 // sequences  # sums at once for each sequence: enough not to wait for one another

    @intrinsic
    def dots(
        context: Any, words: Any, scales: Any, zeros: Any, codes: Any, x: Any, x_bytes: Any, sums: Any,
        out: Any, out_bytes: Any, groups: Any, group_words: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            words, scales, zeros, codes, x, x_bytes, sums, out, out_bytes, groups, group_words = values
            code = _Code(builder)
            table = code.load(_HALVES, codes, _VECTOR_BYTES)
            totals = [code.variable() for _ in range(sequences)]
            parts = [[code.variable() for _ in range(count)] for _ in range(sequences)]
            with cgutils.for_range(builder, groups) as group:
                for mine in parts:
                    code.clear(mine)
                with cgutils.for_range(builder, group_words) as loop:
                    word = builder.add(builder.mul(group.index, group_words), loop.index)
                    packed = code.load(
                        _WORDS, builder.add(words, code.times(word, _VECTOR_BYTES)), _VECTOR_BYTES
                    )
                    for pair in range(PAIRS_IN_A_WORD):
                        weights = code.looked_up(table, packed, 4 * pair)
                        at = builder.add(code.times(word, 2 * _WORD_WEIGHTS), code.number(4 * pair))
                        for s, mine in enumerate(parts):
                            both = code.splat(code.load(_I32, code.element(x, x_bytes, s, at), 2), _WORDS)
                            code.add_products(mine[pair % count], weights, both)
                at = code.times(group.index, 2 * LANES)
                scale = code.widened(builder.add(scales, at))
                zero = code.widened(builder.add(zeros, at)) if has_zeros else None
                for s, (total, mine) in enumerate(zip(totals, parts, strict=True)):
                    code.add_product(total, scale, code.together(mine))
                    if zero is not None:
                        row = code.times(groups, 4 * s)
                        place = builder.add(sums, builder.add(row, code.times(group.index, 4)))
                        code.add_product(total, zero, code.splat(code.load(_F32, place, 4), _FLOATS))
            for s, total in enumerate(totals):
                code.store(builder.load(total), code.element(out, out_bytes, s, 0))
            return context.get_dummy_value()

        given = (words, scales, zeros, codes, x, x_bytes, sums, out, out_bytes, groups, group_words)
        return types.void(*given), generate

    return dots


def byte_dot() -> Any:
    """(weights, x, out, vectors): out = x · weights for a row of int8 weights, 32 × `vectors` of them.

    bf16 holds the two halves of a byte, the upper one with its sign, but no instruction makes bf16 of it:
    both are looked up.
    """

    @intrinsic
    def dot(context: Any, weights: Any, x: Any, out: Any, vectors: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            weights, x, out, vectors = values
            code = _Code(builder)
            lower, upper = code.variable(), code.variable()
            tables = (code.table(range(16)), code.table([*range(8), *range(-8, 0)]))
            with cgutils.for_range(builder, vectors) as loop:
                of = code.load(_WORDS, builder.add(x, code.times(loop.index, _VECTOR_BYTES)), 2)
                bytes_at = builder.add(weights, code.times(loop.index, _VECTOR_BYTES // 2))
                halves = builder.bitcast(builder.zext(code.load(_BYTES, bytes_at, 1), _HALVES), _WORDS)
                code.add_products(lower, code.looked_up(tables[0], halves, 0), of)
                code.add_products(upper, code.looked_up(tables[1], halves, 4), of)
            code.add_product(lower, builder.load(upper), ir.Constant(_FLOATS, [16.0] * LANES))
            code.store(code.sum_of(builder.load(lower)), out)
            return context.get_dummy_value()

        return types.void(weights, x, out, vectors), generate

    return dot


def integer_dot() -> Any:
    """(weights, x, out, vectors): the same for int16 x and int32 out, which must have room for the sums."""

    @intrinsic
    def dot(context: Any, weights: Any, x: Any, out: Any, vectors: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            weights, x, out, vectors = values
            code = _Code(builder)
            total = cgutils.alloca_once_value(builder, ir.Constant(_WORDS, [0] * LANES))
            with cgutils.for_range(builder, vectors) as loop:
                of = code.load(_HALVES, builder.add(x, code.times(loop.index, _VECTOR_BYTES)), 2)
                bytes_at = builder.add(weights, code.times(loop.index, _VECTOR_BYTES // 2))
                wide = builder.sext(code.load(_BYTES, bytes_at, 1), _HALVES)
                builder.store(builder.add(builder.load(total), code.products_in_pairs(wide, of)), total)
            code.store(code.integer_sum_of(builder.load(total)), out)
            return context.get_dummy_value()

        return types.void(weights, x, out, vectors), generate

    return dot


def nibbles_widened(*, has_zeros: bool) -> Any:
    """(words, scales, zeros, codes, out, bytes a column, groups, words a group).

    A block's 16 rows as bf16: column k goes to `out` + k × bytes a column. The rest is as in `nibble_dots`.
    """

    @intrinsic
    def widened(
        context: Any, words: Any, scales: Any, zeros: Any, codes: Any, out: Any, column_bytes: Any,
        groups: Any, group_words: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            words, scales, zeros, codes, out, column_bytes, groups, group_words = values
            code = _Code(builder)
            table = code.load(_HALVES, codes, _VECTOR_BYTES)
            with cgutils.for_range(builder, groups) as group:
                at = code.times(group.index, 2 * LANES)
                scale = code.widened(builder.add(scales, at))
                zero = code.widened(builder.add(zeros, at)) if has_zeros else None
                with cgutils.for_range(builder, group_words) as loop:
                    word = builder.add(builder.mul(group.index, group_words), loop.index)
                    packed = code.load(
                        _WORDS, builder.add(words, code.times(word, _VECTOR_BYTES)), _VECTOR_BYTES
                    )
                    first = builder.add(out, builder.mul(code.times(word, _WORD_WEIGHTS), column_bytes))
                    for pair in range(PAIRS_IN_A_WORD):
                        both = code.floats_of_pairs(code.looked_up(table, packed, 4 * pair))
                        for parity, weights in enumerate(both):
                            value = builder.fmul(weights, scale)
                            if zero is not None:
                                value = builder.fadd(value, zero)
                            column = code.element(first, column_bytes, 2 * pair + parity, 0)
                            code.store(code.rounded(value), column)
            return context.get_dummy_value()

        return types.void(words, scales, zeros, codes, out, column_bytes, groups, group_words), generate

    return widened


class _Code:
    """LLVM's builder, with the few things that are done to vectors here. Addresses and counts are 64-bit."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def number(self, value: int) -> Any:
        """A constant."""
        return ir.Constant(_I64, value)

    def times(self, count: Any, factor: int) -> Any:
        """count × factor."""
        return self._builder.mul(count, self.number(factor))

    def element(self, address: Any, stride: Any, index: int, offset: Any) -> Any:
        """address + stride × index + offset."""
        row = self._builder.add(address, self._builder.mul(stride, self.number(index)))
        return self._builder.add(row, self.number(offset) if isinstance(offset, int) else offset)

    def load(self, kind: Any, address: Any, alignment: int) -> Any:
        """What lies there."""
        loaded = self._builder.load(self._builder.inttoptr(address, kind.as_pointer()))
        loaded.align = alignment
        return loaded

    def store(self, value: Any, address: Any) -> None:
        """One or more numbers, at whatever address."""
        self._builder.store(value, self._builder.inttoptr(address, value.type.as_pointer())).align = 2

    def variable(self) -> Any:
        """16 sums, at 0."""
        return cgutils.alloca_once_value(self._builder, _ZERO)

    def clear(self, variables: Values) -> None:
        """To 0 again."""
        for variable in variables:
            self._builder.store(_ZERO, variable)

    def splat(self, value: Any, kind: Any) -> Any:
        """The same in every lane."""
        nothing, first = ir.Constant(kind, ir.Undefined), ir.Constant(_I32, 0)
        inserted = self._builder.insert_element(nothing, value, first)
        return self._builder.shuffle_vector(
            inserted, nothing, ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count)
        )

    def widened(self, address: Any) -> Any:
        """16 bf16 as float32."""
        halves = self._builder.zext(self.load(_HALF_OF_THEM, address, 2), _WORDS)
        return self._builder.bitcast(self._builder.shl(halves, ir.Constant(_WORDS, [16] * LANES)), _FLOATS)

    def floats_of_pairs(self, pairs: Any) -> tuple[Any, Any]:
        """The lower and the upper bf16 of each word, as float32."""
        lower = self._builder.shl(pairs, ir.Constant(_WORDS, [16] * LANES))
        upper = self._builder.and_(pairs, ir.Constant(_WORDS, [0xFFFF0000] * LANES))
        return self._builder.bitcast(lower, _FLOATS), self._builder.bitcast(upper, _FLOATS)

    def rounded(self, floats: Any) -> Any:
        """16 float32 as bf16, ties to even."""
        bits, sixteen = self._builder.bitcast(floats, _WORDS), ir.Constant(_WORDS, [16] * LANES)
        odd = self._builder.and_(self._builder.lshr(bits, sixteen), ir.Constant(_WORDS, [1] * LANES))
        bits = self._builder.add(self._builder.add(bits, ir.Constant(_WORDS, [0x7FFF] * LANES)), odd)
        return self._builder.trunc(self._builder.lshr(bits, sixteen), _HALF_OF_THEM)

    def looked_up(self, table: Any, packed: Any, bits: int) -> Any:
        """Of each half word the four bits from `bits` on, as the bf16 that the table has for them.

        VPERMW takes five bits; the table is there twice, so the fifth is of no account.
        """
        shifted = self._builder.lshr(packed, ir.Constant(_WORDS, [bits] * LANES)) if bits else packed
        places = self._builder.bitcast(shifted, _HALVES)
        permute = self._function("llvm.x86.avx512.permvar.hi.512", _HALVES, _HALVES, _HALVES)
        return self._builder.bitcast(self._builder.call(permute, [table, places]), _WORDS)

    def table(self, values: Iterable[int]) -> Any:
        """16 small whole numbers as bf16, twice, for `looked_up`."""
        bits = [struct.unpack("<I", struct.pack("<f", value))[0] >> 16 for value in values]
        return ir.Constant(_HALVES, [*bits, *bits])

    def products_in_pairs(self, a: Any, b: Any) -> Any:
        """Of 32 int16 each, neighbours added: 16 int32."""
        multiply = self._function("llvm.x86.avx512.pmaddw.d.512", _WORDS, _HALVES, _HALVES)
        return self._builder.call(multiply, [a, b])

    def integer_sum_of(self, integers: Any) -> Any:
        """Of the 16 lanes."""
        add = self._function("llvm.vector.reduce.add.v16i32", _I32, _WORDS)
        return self._builder.call(add, [integers])

    def add_products(self, total: Any, a: Any, b: Any) -> None:
        """total += a · b, pair by pair of bf16."""
        multiply = self._function("llvm.x86.avx512bf16.dpbf16ps.512", _FLOATS, _FLOATS, _WORDS, _WORDS)
        self._builder.store(self._builder.call(multiply, [self._builder.load(total), a, b]), total)

    def add_product(self, total: Any, a: Any, b: Any) -> None:
        """total += a · b of float32."""
        product = self._builder.fmul(a, b, flags=["contract"])
        self._builder.store(self._builder.fadd(self._builder.load(total), product, flags=["contract"]), total)

    def together(self, variables: Values) -> Any:
        """All of them added, lane by lane."""
        total = self._builder.load(variables[0])
        for variable in variables[1:]:
            total = self._builder.fadd(total, self._builder.load(variable))
        return total

    def sum_of(self, floats: Any) -> Any:
        """Of the 16 lanes."""
        add = self._function("llvm.vector.reduce.fadd.v16f32", _F32, _F32, _FLOATS)
        return self._builder.call(add, [ir.Constant(_F32, 0.0), floats], fastmath=["reassoc"])

    def _function(self, name: str, result: Any, *arguments: Any) -> Any:
        return cgutils.get_or_insert_function(self._builder.module, ir.FunctionType(result, arguments), name)
