"""Attention of one token to those in a cache, split over the cache's length.

The kernel rotates queries and key (RoPE), writes key and value into the cache at the position that it reads
from the device, and attends to what is held: programs beyond that return at once, and the last one of a head
combines. Flash-decoding's split (Dao et al., 2023), online softmax (Milakov and Gimelshein, 2018).
"""

import triton
import triton.language as tl


@triton.jit
def attend(
    qkv, query_norm, key_norm, epsilon, cosine, sine, position, keys, values, partial, extremes, arrived, out,
    scale, capacity,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, HALF: tl.constexpr, GROUP: tl.constexpr,
    SPAN: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """out [batch, heads, size] of qkv [batch, heads + 2 · kv heads, size].

    cosine, sine [size] of the position; keys, values [batch, kv heads, capacity, size]; float32 partial
    [batch · kv heads, SPLITS, GROUP, 2 · HALF] and extremes [batch · kv heads, SPLITS, GROUP, 2]; int32
    arrived [batch · kv heads], which is 0 before and afterwards. GROUP, HALF: powers of two that hold the
    queries of a key, and half a head. SPAN positions are a program's, BLOCK of them are read at once.
    """
    head = tl.program_id(0)  # of keys and values, in all sequences
    split = tl.program_id(1)
    held = tl.load(position).to(tl.int32)  # so many tokens, and the new one goes to this position
    active = held // SPAN + 1
    if split >= active:
        return
    sequence, kv = head // KV_HEADS, head % KV_HEADS
    QUERIES: tl.constexpr = HEADS // KV_HEADS
    token = qkv + sequence * (HEADS + 2 * KV_HEADS) * SIZE
    dtype = keys.dtype.element_ty
    half = tl.arange(0, HALF)
    exists = half < SIZE // 2
    group = tl.arange(0, GROUP)

    at = token + (kv * QUERIES + group)[:, None] * SIZE + half[None, :]
    wanted = (group < QUERIES)[:, None] & exists[None, :]
    q_left, q_right = _rotated(at, wanted, query_norm, epsilon, cosine, sine, dtype, half, exists, SIZE)
    at = token + (HEADS + kv) * SIZE + half[None, :]
    k_left, k_right = _rotated(
        at, exists[None, :], key_norm, epsilon, cosine, sine, dtype, half, exists, SIZE
    )
    at = token + (HEADS + KV_HEADS + kv) * SIZE + half[None, :]
    v_left, v_right = _loaded(at, exists[None, :], SIZE)

    cache = head.to(tl.int64) * capacity * SIZE
    if split == active - 1:
        new = cache + held.to(tl.int64) * SIZE + half[None, :]
        _store(keys + new, k_left, k_right, exists[None, :], SIZE)
        _store(values + new, v_left, v_right, exists[None, :], SIZE)

    largest = tl.full([GROUP], -1e30, tl.float32)
    total = tl.zeros([GROUP], tl.float32)
    left = tl.zeros([GROUP, HALF], tl.float32)
    right = tl.zeros([GROUP, HALF], tl.float32)
    for first in range(split * SPAN, tl.minimum(split * SPAN + SPAN, held + 1), BLOCK):
        places = first + tl.arange(0, BLOCK)
        is_new = (places == held)[:, None]
        where = cache + places[:, None].to(tl.int64) * SIZE + half[None, :]
        filled = (places < held)[:, None] & exists[None, :]
        key_left, key_right = _loaded(keys + where, filled, SIZE)
        key_left, key_right = tl.where(is_new, k_left, key_left), tl.where(is_new, k_right, key_right)
        scores = (
            tl.sum(q_left[:, None, :] * key_left[None] + q_right[:, None, :] * key_right[None], 2) * scale
        )
        scores = tl.where((places <= held)[None, :], scores, -1e30)  # [GROUP, BLOCK]
        highest = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.where((places <= held)[None, :], tl.exp(scores - highest[:, None]), 0.0)
        shrunk = tl.exp(largest - highest)
        value_left, value_right = _loaded(values + where, filled, SIZE)
        value_left, value_right = tl.where(is_new, v_left, value_left), tl.where(is_new, v_right, value_right)
        total = total * shrunk + tl.sum(weights, 1)
        left = left * shrunk[:, None] + tl.sum(weights[:, :, None] * value_left[None], 1)
        right = right * shrunk[:, None] + tl.sum(weights[:, :, None] * value_right[None], 1)
        largest = highest

    slot = (head * SPLITS + split) * GROUP + group  # [GROUP]
    tl.store(extremes + 2 * slot, largest)
    tl.store(extremes + 2 * slot + 1, total)
    tl.store(partial + slot[:, None] * (2 * HALF) + half[None, :], left)
    tl.store(partial + slot[:, None] * (2 * HALF) + HALF + half[None, :], right)
    tl.debug_barrier()  # all of the program's threads have written before it says so
    if tl.atomic_add(arrived + head, 1) == active - 1:
        tl.debug_barrier()
        to = sequence * HEADS + kv * QUERIES + group
        _combined(partial, extremes, out, head, active, group, to, wanted, half, SIZE, HALF, GROUP, SPLITS)
        tl.store(arrived + head, 0)


@triton.jit
def _combined(
    partial, extremes, out, head, active, group, to, wanted, half,
    SIZE: tl.constexpr, HALF: tl.constexpr, GROUP: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """The splits of a head as one attention, to heads `to` [GROUP]. A nearby cache may be old: past it."""
    largest = tl.full([GROUP], -1e30, tl.float32)
    total = tl.zeros([GROUP], tl.float32)
    left = tl.zeros([GROUP, HALF], tl.float32)
    right = tl.zeros([GROUP, HALF], tl.float32)
    for split in range(0, active):
        slot = (head * SPLITS + split) * GROUP + group
        its_largest = tl.load(extremes + 2 * slot, cache_modifier=".cg")
        its_total = tl.load(extremes + 2 * slot + 1, cache_modifier=".cg")
        at = partial + slot[:, None] * (2 * HALF) + half[None, :]
        highest = tl.maximum(largest, its_largest)
        shrunk, its = tl.exp(largest - highest), tl.exp(its_largest - highest)
        total = total * shrunk + its_total * its
        left = left * shrunk[:, None] + tl.load(at, cache_modifier=".cg") * its[:, None]
        right = right * shrunk[:, None] + tl.load(at + HALF, cache_modifier=".cg") * its[:, None]
        largest = highest
    at = out + to[:, None] * SIZE + half[None, :]
    _store(at, left / total[:, None], right / total[:, None], wanted, SIZE)


@triton.jit
def _loaded(at, mask, SIZE: tl.constexpr):
    """Both halves of heads, float32."""
    left = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    return left, tl.load(at + SIZE // 2, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store(at, left, right, mask, SIZE: tl.constexpr):
    """Both halves of heads."""
    tl.store(at, left.to(at.dtype.element_ty), mask=mask)
    tl.store(at + SIZE // 2, right.to(at.dtype.element_ty), mask=mask)


@triton.jit
def _rotated(at, mask, norm, epsilon, cosine, sine, dtype, half, exists, SIZE: tl.constexpr):
    """Halves of heads [n, HALF], over their root mean square times `norm` [size] if there is one; rotated."""
    left, right = _loaded(at, mask, SIZE)
    if norm is not None:
        rms = tl.rsqrt((tl.sum(left * left, 1) + tl.sum(right * right, 1)) / SIZE + epsilon)[:, None]
        norm_left, norm_right = _loaded(norm + half, exists, SIZE)
        left, right = left * rms * norm_left[None, :], right * rms * norm_right[None, :]
    cos_left, cos_right = _loaded(cosine + half, exists, SIZE)
    sin_left, sin_right = _loaded(sine + half, exists, SIZE)
    turned_left = left * cos_left[None, :] - right * sin_left[None, :]
    turned_right = right * cos_right[None, :] + left * sin_right[None, :]
    return turned_left.to(dtype).to(tl.float32), turned_right.to(dtype).to(tl.float32)
