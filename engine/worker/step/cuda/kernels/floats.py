"""Eight columns of a thread: out of the bits of weights as floats, multiplied, added up.

Whole numbers become floats without a conversion, by their place among a float's bits: behind the exponent of
2ᵉ, bit 23 − e counts as 1, and the whole as 2ᵉ more. What that adds to eight products is taken off their sum,
once for all rows. Knows no layout in memory.
"""

import triton
import triton.language as tl

_IS_INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def eight(wide):
    """[n, m, chunks, 8] as eight [n, m, chunks]: numbers that a thread has anyway."""
    n: tl.constexpr = wide.shape[0]
    m: tl.constexpr = wide.shape[1]
    chunks: tl.constexpr = wide.shape[2]
    even, odd = tl.split(tl.reshape(wide, [n, m, chunks, 2, 2, 2]))
    even_low, even_high = tl.split(even)
    odd_low, odd_high = tl.split(odd)
    a, e = tl.split(even_low)
    c, g = tl.split(even_high)
    b, f = tl.split(odd_low)
    d, h = tl.split(odd_high)
    return a, b, c, d, e, f, g, h


@triton.jit
def sum_of(a):
    """Of eight."""
    return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))


@triton.jit
def added(total, w, a):
    """The products of eight columns, added to a total."""
    total = w[0] * a[0] + total
    total = w[1] * a[1] + total
    total = w[2] * a[2] + total
    total = w[3] * a[3] + total
    total = w[4] * a[4] + total
    total = w[5] * a[5] + total
    total = w[6] * a[6] + total
    return w[7] * a[7] + total


@triton.jit
def int8(words, nought):
    """Each of eight numbers plus 384."""
    a, b, c, d = _bytes(words.to(tl.int32))
    e, f, g, h = _bytes((words >> 32).to(tl.int32))
    return (
        _whole8(a, nought), _whole8(b, nought), _whole8(c, nought), _whole8(d, nought),
        _whole8(e, nought), _whole8(f, nought), _whole8(g, nought), _whole8(h, nought),
    )  # fmt: skip


@triton.jit
def int4(word, code, nought):
    """Values of a table that was `spread`; without one each number plus 16, or 256 in the odd columns."""
    if code is not None:
        return _looked_up(code, word)
    a, b, c, d = _bytes(word)
    return (
        _high(a, nought), _low(a, nought), _high(b, nought), _low(b, nought),
        _high(c, nought), _low(c, nought), _high(d, nought), _low(d, nought),
    )  # fmt: skip


@triton.jit
def _bytes(word):
    """Each byte of a word, at bits 15 to 22; other bits are anything."""
    return word << 15, word << 7, word >> 1, word >> 9


@triton.jit
def _whole8(at_15, nought):
    """256 + 128 + a signed byte: the exponent of 256, and the byte's sign bit turned around."""
    return ((at_15 & 0x7F8000) ^ (0x43C00000 + nought)).to(tl.float32, bitcast=True)


@triton.jit
def _high(at_15, nought):
    """16 + the high half of a byte."""
    return ((at_15 & 0x780000) ^ (0x41800000 + nought)).to(tl.float32, bitcast=True)


@triton.jit
def _low(at_15, nought):
    """256 + the low half of a byte."""
    return ((at_15 & 0x78000) ^ (0x43800000 + nought)).to(tl.float32, bitcast=True)


@triton.jit
def spread(code):
    """A table of 16 as `int4` asks for its values: lane n of each half warp has value n."""
    if _IS_INTERPRETED:  # which knows no lanes
        return code
    return tl.load(code + _lane() % 16)


@triton.jit
def _lane():
    """A thread's number in its warp."""
    return tl.inline_asm_elementwise("mov.u32 $0, %laneid;", "=r", [], tl.int32, is_pure=True, pack=1)


@triton.jit
def _looked_up(code, word):
    """Eight values of a table that was `spread`, which lanes ask each other for."""
    if _IS_INTERPRETED:  # which knows no assembly
        a, b, c, d = word & 255, (word >> 8) & 255, (word >> 16) & 255, (word >> 24) & 255
        return (
            tl.load(code + (a >> 4)), tl.load(code + (a & 15)),
            tl.load(code + (b >> 4)), tl.load(code + (b & 15)),
            tl.load(code + (c >> 4)), tl.load(code + (c & 15)),
            tl.load(code + (d >> 4)), tl.load(code + (d & 15)),
        )  # fmt: skip
    return tl.inline_asm_elementwise(
        """
        {
        .reg .b32 a, c, d, e, f, g, h;
        shr.u32 a, $8, 4;
        shr.u32 c, $8, 12;
        shr.u32 d, $8, 8;
        shr.u32 e, $8, 20;
        shr.u32 f, $8, 16;
        shr.u32 g, $8, 28;
        shr.u32 h, $8, 24;
        shfl.sync.idx.b32 $0, $9, a, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $1, $9, $8, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $2, $9, c, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $3, $9, d, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $4, $9, e, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $5, $9, f, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $6, $9, g, 0x101f, 0xffffffff;
        shfl.sync.idx.b32 $7, $9, h, 0x101f, 0xffffffff;
        }
        """,
        "=&f,=&f,=&f,=&f,=&f,=&f,=&f,=&f,r,f",
        [word, code],
        (tl.float32, tl.float32, tl.float32, tl.float32, tl.float32, tl.float32, tl.float32, tl.float32),
        is_pure=True,
        pack=1,
    )


@triton.jit
def bits(scale):
    """Of a scale, as a whole number."""
    if scale.dtype.primitive_bitwidth == 32:
        return scale.to(tl.int32, bitcast=True)
    if scale.dtype.primitive_bitwidth == 16:
        return scale.to(tl.uint16, bitcast=True).to(tl.int32)
    return scale.to(tl.int32)
