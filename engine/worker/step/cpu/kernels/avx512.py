# ruff: noqa: PLR0913, PLR0917  # compiled functions are given numbers, not objects
"""Dot products of bf16, 8-bit and 4-bit weights with bf16 values, on processors that have AVX512_BF16.

Owns the vector instructions: LLVM code for loops that no compiler finds by itself. Sums are float32, as
VDPBF16PS takes them: two products at a time, denormals as zero. Knows addresses and counts; must not know
models.

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
            code = Code(builder)
            parts = [[code.variable() for _ in range(count)] for _ in range(sequences)]

            def add(vector: Any, part: int) -> None:
                at = code.times(vector, _VECTOR_BYTES)
                pairs = code.load(WORDS, builder.add(weights, at), 2)
                for s, mine in enumerate(parts):
                    code.add_products(mine[part], pairs, code.load(WORDS, code.element(x, x_bytes, s, at), 2))

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

    @intrinsic
    def dots(
        context: Any, words: Any, scales: Any, zeros: Any, codes: Any, x: Any, x_bytes: Any, sums: Any,
        out: Any, out_bytes: Any, groups: Any, group_words: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, values: Values) -> Any:
            _NibbleDots(builder, values, sequences, has_zeros=has_zeros).write()
            return context.get_dummy_value()

        given = (words, scales, zeros, codes, x, x_bytes, sums, out, out_bytes, groups, group_words)
        return types.void(*given), generate

    return dots


class _NibbleDots:
    """The code of `nibble_dots`: groups of words, the words of a group, the pairs of a word."""

    def __init__(self, builder: Any, values: Values, sequences: int, *, has_zeros: bool) -> None:
        self._words, self._scales, self._zeros, codes, self._x, self._x_bytes, *others = values
        self._sums, self._out, self._out_bytes, self._groups, self._group_words = others
        self._builder, self._code, self._has_zeros = builder, Code(builder), has_zeros
        self._table = self._code.load(HALVES, codes, _VECTOR_BYTES)
        self._totals = [self._code.variable() for _ in range(sequences)]
        self._count = 4 // sequences  # sums at once for each: enough not to wait for one another
        self._parts = [[self._code.variable() for _ in range(self._count)] for _ in range(sequences)]

    def write(self) -> None:
        """All of it."""
        with cgutils.for_range(self._builder, self._groups) as group:
            for parts in self._parts:
                self._code.clear(parts)
            first = self._builder.mul(group.index, self._group_words)
            with cgutils.for_range(self._builder, self._group_words) as loop:
                self._add_word(self._builder.add(first, loop.index))
            self._add_group(group.index)
        for number, total in enumerate(self._totals):
            place = self._code.element(self._out, self._out_bytes, number, 0)
            self._code.store(self._builder.load(total), place)

    def _add_word(self, word: Any) -> None:
        """Four pairs of each row, to the parts."""
        code, builder = self._code, self._builder
        packed = code.load(WORDS, builder.add(self._words, code.times(word, _VECTOR_BYTES)), _VECTOR_BYTES)
        for pair in range(PAIRS_IN_A_WORD):
            weights = code.looked_up(self._table, packed, 4 * pair)
            at = builder.add(code.times(word, 2 * _WORD_WEIGHTS), code.number(4 * pair))
            for number, parts in enumerate(self._parts):
                both = code.load(I32, code.element(self._x, self._x_bytes, number, at), 2)
                code.add_products(parts[pair % self._count], weights, code.splat(both, WORDS))

    def _add_group(self, group: Any) -> None:
        """The parts times the group's scale, and its zero's share, to the totals."""
        code, builder = self._code, self._builder
        at = code.times(group, 2 * LANES)
        scale = code.widened(builder.add(self._scales, at))
        zero = code.widened(builder.add(self._zeros, at)) if self._has_zeros else None
        for number, (total, parts) in enumerate(zip(self._totals, self._parts, strict=True)):
            code.add_product(total, scale, code.together(parts))
            if zero is not None:
                row = builder.add(self._sums, code.times(self._groups, 4 * number))
                of_group = code.load(F32, builder.add(row, code.times(group, 4)), 4)
                code.add_product(total, zero, code.splat(of_group, FLOATS))


def byte_dot() -> Any:
    """(weights, x, out, vectors): out = x · weights for a row of int8 weights, 32 × `vectors` of them.

    bf16 holds the two halves of a byte, the upper one with its sign, but no instruction makes bf16 of it:
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
                of = code.load(WORDS, builder.add(x, code.times(loop.index, _VECTOR_BYTES)), 2)
                bytes_at = builder.add(weights, code.times(loop.index, _VECTOR_BYTES // 2))
                halves = builder.bitcast(builder.zext(code.load(BYTES, bytes_at, 1), HALVES), WORDS)
                code.add_products(lower, code.looked_up(tables[0], halves, 0), of)
                code.add_products(upper, code.looked_up(tables[1], halves, 4), of)
            code.add_product(lower, builder.load(upper), ir.Constant(FLOATS, [16.0] * LANES))
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
            code = Code(builder)
            total = cgutils.alloca_once_value(builder, ir.Constant(WORDS, [0] * LANES))
            with cgutils.for_range(builder, vectors) as loop:
                of = code.load(HALVES, builder.add(x, code.times(loop.index, _VECTOR_BYTES)), 2)
                bytes_at = builder.add(weights, code.times(loop.index, _VECTOR_BYTES // 2))
                wide = builder.sext(code.load(BYTES, bytes_at, 1), HALVES)
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
            code = Code(builder)
            table = code.load(HALVES, codes, _VECTOR_BYTES)
            with cgutils.for_range(builder, groups) as group:
                at = code.times(group.index, 2 * LANES)
                scale = code.widened(builder.add(scales, at))
                zero = code.widened(builder.add(zeros, at)) if has_zeros else None
                with cgutils.for_range(builder, group_words) as loop:
                    word = builder.add(builder.mul(group.index, group_words), loop.index)
                    packed = code.load(
                        WORDS, builder.add(words, code.times(word, _VECTOR_BYTES)), _VECTOR_BYTES
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
