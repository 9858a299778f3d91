# ruff: noqa: PLR0913, PLR0917  # compiled functions are given numbers, not objects
"""Dot products of bf16, int8 and int4 weights with bf16 values, on processors that have AVX512_BF16.

Owns the vector instructions: LLVM code for loops that compilers do not vectorize this way. Sums are float32,
as VDPBF16PS computes them: two products at a time, denormals as zero. Knows addresses and counts; must not
know models.

Rows of bf16 and int8 weights lie as they were loaded. 4-bit weights lie in blocks of 16 rows, a vector's
lanes: word k of a row holds its weights 8k to 8k + 7, the even ones in the lower half, the odd ones in the
upper, so that a shift brings each pair to where VPERMW looks it up among 16 values.
"""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from engine.worker.step.cpu.kernels.llvm import BYTES, F32, FLOATS, HALVES, I32, LANES, WORDS, Code, Values

PAIRS_IN_A_WORD = 4
_VECTOR_BYTES, _WORD_WEIGHTS = 64, 8
_NEEDED = ("+avx512bf16", "+avx512bw")


def are_available() -> bool:
    """Whether this processor has them, and numba is not configured for another one."""
    is_configured = numba.config.CPU_NAME or numba.config.CPU_FEATURES
    return not is_configured and set(_NEEDED) <= set(get_host_cpu_features().split(","))


def row_dots(sequences: int) -> Any:
    """(weights, x, bytes a sequence, out, bytes a sequence, vectors): out[s] = x[s] · weights, float32.

    A row of bf16 weights has 32 × `vectors` columns, as has x. Rows are read one after the other: several
    at a time were read from memory at half the speed.
    """
    count = 2 if sequences == 1 else 1  # sums at once for each sequence

    @intrinsic
    def dots(context: Any, weights: Any, x: Any, x_bytes: Any, out: Any, out_bytes: Any, vectors: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            weights, x, x_bytes, out, out_bytes, vectors = values
            code = Code(builder)
            parts = [[code.variable() for _ in range(count)] for _ in range(sequences)]

            def add(vector: Any, part: int) -> None:
                offset = code.times(vector, _VECTOR_BYTES)
                pairs = code.load(WORDS, builder.add(weights, offset), 2)
                for s, mine in enumerate(parts):
                    code.add_bf16_dots(
                        mine[part], pairs, code.load(WORDS, code.element(x, x_bytes, s, offset), 2)
                    )

            rounds = builder.udiv(vectors, code.number(count))
            with cgutils.for_range(builder, rounds) as loop:
                for part in range(count):
                    add(builder.add(code.times(loop.index, count), code.number(part)), part)
            last = code.times(rounds, count)
            with cgutils.for_range(builder, vectors, last) as loop:
                add(loop.index, 0)
            for s, mine in enumerate(parts):
                code.store(code.reduce_add(code.sum_lanewise(mine)), code.element(out, out_bytes, s, 0))
            return context.get_dummy_value()

        return types.void(weights, x, x_bytes, out, out_bytes, vectors), generate

    return dots


def int4_dots(sequences: int, *, has_zeros: bool) -> Any:
    """(words, scales, zeros, code book, x, x bytes, sums, out, out bytes, groups, words a group).

    For the 16 rows r of a block out[s, r] = Σ scale · Σ code_book[weight] · x[s], and where there are zeros
    also each group's sum of x[s] times its zero. Scales and zeros are bf16 [groups, 16], sums float32
    [sequences, groups]; `code_book` is 16 bf16 values, twice, at a multiple of 64.
    """

    @intrinsic
    def dots(
        context: Any, words: Any, scales: Any, zeros: Any, code_book: Any, x: Any, x_bytes: Any, sums: Any,
        out: Any, out_bytes: Any, groups: Any, group_words: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            _Int4Dots(builder, values, sequences, has_zeros=has_zeros).write()
            return context.get_dummy_value()

        given = (words, scales, zeros, code_book, x, x_bytes, sums, out, out_bytes, groups, group_words)
        return types.void(*given), generate

    return dots


class _Int4Dots:
    """The code of `int4_dots`: groups of words, the words of a group, the pairs of a word."""

    def __init__(self, builder: Any, values: Values, sequences: int, *, has_zeros: bool) -> None:
        self._words, self._scales, self._zeros, code_book, self._x, self._x_bytes, *others = values
        self._sums, self._out, self._out_bytes, self._groups, self._group_words = others
        self._builder, self._code, self._has_zeros = builder, Code(builder), has_zeros
        self._table = self._code.load(HALVES, code_book, _VECTOR_BYTES)
        self._totals = [self._code.variable() for _ in range(sequences)]
        self._count = 4 // sequences  # sums at once for each: enough to hide the latency
        self._parts = [[self._code.variable() for _ in range(self._count)] for _ in range(sequences)]

    def write(self) -> None:
        """Emit all of it."""
        with cgutils.for_range(self._builder, self._groups) as group:
            for parts in self._parts:
                self._code.clear(parts)
            first = self._builder.mul(group.index, self._group_words)
            with cgutils.for_range(self._builder, self._group_words) as loop:
                self._add_word(self._builder.add(first, loop.index))
            self._add_group(group.index)
        for number, total in enumerate(self._totals):
            out_addr = self._code.element(self._out, self._out_bytes, number, 0)
            self._code.store(self._builder.load(total), out_addr)

    def _add_word(self, word: Any) -> None:
        """Add four pairs of each row to the parts."""
        code, builder = self._code, self._builder
        packed = code.load(WORDS, builder.add(self._words, code.times(word, _VECTOR_BYTES)), _VECTOR_BYTES)
        for pair in range(PAIRS_IN_A_WORD):
            weights = code.lookup(self._table, packed, 4 * pair)
            offset = builder.add(code.times(word, 2 * _WORD_WEIGHTS), code.number(4 * pair))
            for number, parts in enumerate(self._parts):
                both = code.load(I32, code.element(self._x, self._x_bytes, number, offset), 2)
                code.add_bf16_dots(parts[pair % self._count], weights, code.splat(both, WORDS))

    def _add_group(self, group: Any) -> None:
        """Add the parts times the group's scale, and the zero's part, to the totals."""
        code, builder = self._code, self._builder
        offset = code.times(group, 2 * LANES)
        scale = code.load_bf16(builder.add(self._scales, offset))
        zero = code.load_bf16(builder.add(self._zeros, offset)) if self._has_zeros else None
        for number, (total, parts) in enumerate(zip(self._totals, self._parts, strict=True)):
            code.add_product(total, scale, code.sum_lanewise(parts))
            if zero is not None:
                row = builder.add(self._sums, code.times(self._groups, 4 * number))
                of_group = code.load(F32, builder.add(row, code.times(group, 4)), 4)
                code.add_product(total, zero, code.splat(of_group, FLOATS))


def int8_dot() -> Any:
    """(weights, x, out, vectors): out = x · weights for a row of int8 weights, 32 × `vectors` of them.

    bf16 can hold each half of a byte, the upper one with its sign, but no instruction converts them:
    both are looked up.
    """

    @intrinsic
    def dot(context: Any, weights: Any, x: Any, out: Any, vectors: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            weights, x, out, vectors = values
            code = Code(builder)
            lower, upper = code.variable(), code.variable()
            tables = (code.table(range(16)), code.table([*range(8), *range(-8, 0)]))
            with cgutils.for_range(builder, vectors) as loop:
                x_vector = code.load(WORDS, builder.add(x, code.times(loop.index, _VECTOR_BYTES)), 2)
                weights_addr = builder.add(weights, code.times(loop.index, _VECTOR_BYTES // 2))
                halves = builder.bitcast(builder.zext(code.load(BYTES, weights_addr, 1), HALVES), WORDS)
                code.add_bf16_dots(lower, code.lookup(tables[0], halves, 0), x_vector)
                code.add_bf16_dots(upper, code.lookup(tables[1], halves, 4), x_vector)
            code.add_product(lower, builder.load(upper), ir.Constant(FLOATS, [16.0] * LANES))
            code.store(code.reduce_add(builder.load(lower)), out)
            return context.get_dummy_value()

        return types.void(weights, x, out, vectors), generate

    return dot


def int8_int16_dot() -> Any:
    """(weights, x, out, vectors): the same for int16 x and int32 out, in which the sums must fit."""

    @intrinsic
    def dot(context: Any, weights: Any, x: Any, out: Any, vectors: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            weights, x, out, vectors = values
            code = Code(builder)
            total = cgutils.alloca_once_value(builder, ir.Constant(WORDS, [0] * LANES))
            with cgutils.for_range(builder, vectors) as loop:
                x_vector = code.load(HALVES, builder.add(x, code.times(loop.index, _VECTOR_BYTES)), 2)
                weights_addr = builder.add(weights, code.times(loop.index, _VECTOR_BYTES // 2))
                wide = builder.sext(code.load(BYTES, weights_addr, 1), HALVES)
                builder.store(builder.add(builder.load(total), code.int16_dots(wide, x_vector)), total)
            code.store(code.reduce_add_int32(builder.load(total)), out)
            return context.get_dummy_value()

        return types.void(weights, x, out, vectors), generate

    return dot


def int4_dequantizer(*, has_zeros: bool) -> Any:
    """(words, scales, zeros, code book, out, bytes a column, groups, words a group).

    Dequantizes a block's 16 rows to bf16: column k goes to `out` + k × bytes a column. The rest is as in
    `int4_dots`.
    """

    @intrinsic
    def dequantize(
        context: Any, words: Any, scales: Any, zeros: Any, code_book: Any, out: Any, column_bytes: Any,
        groups: Any, group_words: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            words, scales, zeros, code_book, out, column_bytes, groups, group_words = values
            code = Code(builder)
            table = code.load(HALVES, code_book, _VECTOR_BYTES)
            with cgutils.for_range(builder, groups) as group:
                offset = code.times(group.index, 2 * LANES)
                scale = code.load_bf16(builder.add(scales, offset))
                zero = code.load_bf16(builder.add(zeros, offset)) if has_zeros else None
                with cgutils.for_range(builder, group_words) as loop:
                    word = builder.add(builder.mul(group.index, group_words), loop.index)
                    packed = code.load(
                        WORDS, builder.add(words, code.times(word, _VECTOR_BYTES)), _VECTOR_BYTES
                    )
                    first = builder.add(out, builder.mul(code.times(word, _WORD_WEIGHTS), column_bytes))
                    for pair in range(PAIRS_IN_A_WORD):
                        both = code.pairs_to_float32(code.lookup(table, packed, 4 * pair))
                        for parity, weights in enumerate(both):
                            value = builder.fmul(weights, scale)
                            if zero is not None:
                                value = builder.fadd(value, zero)
                            column = code.element(first, column_bytes, 2 * pair + parity, 0)
                            code.store(code.to_bf16(value), column)
            return context.get_dummy_value()

        return types.void(words, scales, zeros, code_book, out, column_bytes, groups, group_words), generate

    return dequantize
