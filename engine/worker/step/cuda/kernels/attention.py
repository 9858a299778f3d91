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
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, HALF: tl.constexpr, ROTARY: tl.constexpr,
    GROUP: tl.constexpr, SPAN: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """out [batch, heads, size] of qkv [batch, heads + 2 · kv heads, size].

    cosine, sine [ROTARY] of the position rotate a head's first ROTARY numbers, which may be none; keys,
    values [batch, kv heads, capacity, size]; float32 partial [batch · kv heads, SPLITS, GROUP, 2 · HALF] and
    extremes [batch · kv heads, SPLITS, GROUP, 2]; int32 arrived [batch · kv heads], 0 before and afterwards.
    GROUP, HALF: powers of two that hold the queries of a key, and half a head. SPAN positions are a
    program's, BLOCK of them are read at once.
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
    lane = tl.arange(0, HALF)[None, :]  # of a pair of numbers that RoPE turns, or of any other two
    exists = lane < SIZE // 2
    if (ROTARY == SIZE) | (ROTARY == 0):
        half, apart = lane, SIZE // 2
    else:
        half = tl.where(lane < ROTARY // 2, lane, lane + ROTARY // 2)
        apart = tl.where(lane < ROTARY // 2, ROTARY // 2, (SIZE - ROTARY) // 2)
    group = tl.arange(0, GROUP)

    at = token + (kv * QUERIES + group)[:, None] * SIZE + half
    wanted = (group < QUERIES)[:, None] & exists
    q_left, q_right = _rotated(
        at, wanted, query_norm, epsilon, cosine, sine, dtype, lane, half, apart, SIZE, ROTARY
    )
    at = token + (HEADS + kv) * SIZE + half
    k_left, k_right = _rotated(
        at, exists, key_norm, epsilon, cosine, sine, dtype, lane, half, apart, SIZE, ROTARY
    )
    at = token + (HEADS + KV_HEADS + kv) * SIZE + half
    v_left, v_right = _loaded(at, exists, apart)

    cache = head.to(tl.int64) * capacity * SIZE
    if split == active - 1:
        new = cache + held.to(tl.int64) * SIZE + half
        _store(keys + new, k_left, k_right, exists, apart)
        _store(values + new, v_left, v_right, exists, apart)

    largest = tl.full([GROUP], -1e30, tl.float32)
    total = tl.zeros([GROUP], tl.float32)
    left = tl.zeros([GROUP, HALF], tl.float32)
    right = tl.zeros([GROUP, HALF], tl.float32)
    for first in range(split * SPAN, tl.minimum(split * SPAN + SPAN, held + 1), BLOCK):
        places = first + tl.arange(0, BLOCK)
        is_new = (places == held)[:, None]
        where = cache + places[:, None].to(tl.int64) * SIZE + half
        filled = (places < held)[:, None] & exists
        key_left, key_right = _loaded(keys + where, filled, apart)
        key_left, key_right = tl.where(is_new, k_left, key_left), tl.where(is_new, k_right, key_right)
        scores = (
            tl.sum(q_left[:, None, :] * key_left[None] + q_right[:, None, :] * key_right[None], 2) * scale
        )
        scores = tl.where((places <= held)[None, :], scores, -1e30)  # [GROUP, BLOCK]
        highest = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.where((places <= held)[None, :], tl.exp(scores - highest[:, None]), 0.0)
        shrunk = tl.exp(largest - highest)
        value_left, value_right = _loaded(values + where, filled, apart)
        value_left, value_right = tl.where(is_new, v_left, value_left), tl.where(is_new, v_right, value_right)
        total = total * shrunk + tl.sum(weights, 1)
        left = left * shrunk[:, None] + tl.sum(weights[:, :, None] * value_left[None], 1)
        right = right * shrunk[:, None] + tl.sum(weights[:, :, None] * value_right[None], 1)
        largest = highest

    slot = (head * SPLITS + split) * GROUP + group  # [GROUP]
    tl.store(extremes + 2 * slot, largest)
    tl.store(extremes + 2 * slot + 1, total)
    tl.store(partial + slot[:, None] * (2 * HALF) + lane, left)
    tl.store(partial + slot[:, None] * (2 * HALF) + HALF + lane, right)
    tl.debug_barrier()  # all of the program's threads have written before it says so
    if tl.atomic_add(arrived + head, 1) == active - 1:
        tl.debug_barrier()
        to = sequence * HEADS + kv * QUERIES + group
        into = out + to[:, None] * SIZE + half
        _combined(partial, extremes, into, head, active, group, wanted, lane, apart, HALF, GROUP, SPLITS)
        tl.store(arrived + head, 0)


@triton.jit
def _combined(
    partial, extremes, out, head, active, group, wanted, lane, apart,
    HALF: tl.constexpr, GROUP: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """The splits of a head as one attention, to `out` [GROUP, HALF]. A nearby cache may be old: past it."""
    largest = tl.full([GROUP], -1e30, tl.float32)
    total = tl.zeros([GROUP], tl.float32)
    left = tl.zeros([GROUP, HALF], tl.float32)
    right = tl.zeros([GROUP, HALF], tl.float32)
    for split in range(0, active):
        slot = (head * SPLITS + split) * GROUP + group
        its_largest = tl.load(extremes + 2 * slot, cache_modifier=".cg")
        its_total = tl.load(extremes + 2 * slot + 1, cache_modifier=".cg")
        at = partial + slot[:, None] * (2 * HALF) + lane
        highest = tl.maximum(largest, its_largest)
        shrunk, its = tl.exp(largest - highest), tl.exp(its_largest - highest)
        total = total * shrunk + its_total * its
        left = left * shrunk[:, None] + tl.load(at, cache_modifier=".cg") * its[:, None]
        right = right * shrunk[:, None] + tl.load(at + HALF, cache_modifier=".cg") * its[:, None]
        largest = highest
    _store(out, left / total[:, None], right / total[:, None], wanted, apart)


@triton.jit
def _loaded(at, mask, apart):
    """Both halves of heads, float32; `apart`: from a number of the left to that of the right."""
    left = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    return left, tl.load(at + apart, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store(at, left, right, mask, apart):
    """Both halves of heads."""
    tl.store(at, left.to(at.dtype.element_ty), mask=mask)
    tl.store(at + apart, right.to(at.dtype.element_ty), mask=mask)


@triton.jit
def _rotated(
    at, mask, norm, epsilon, cosine, sine, dtype, lane, half, apart, SIZE: tl.constexpr, ROTARY: tl.constexpr
):
    """Halves of heads [n, HALF], over their root mean square times `norm` [size] if there is one; rotated."""
    left, right = _loaded(at, mask, apart)
    if norm is not None:
        rms = tl.rsqrt((tl.sum(left * left, 1) + tl.sum(right * right, 1)) / SIZE + epsilon)[:, None]
        norm_left, norm_right = _loaded(norm + half, lane < SIZE // 2, apart)
        left, right = left * rms * norm_left, right * rms * norm_right
    if ROTARY > 0:
        turns = lane < ROTARY // 2
        cos_left, cos_right = _loaded(cosine + lane, turns, ROTARY // 2)
        sin_left, sin_right = _loaded(sine + lane, turns, ROTARY // 2)
        turned = left * cos_left - right * sin_left
        right = tl.where(turns, right * cos_right + left * sin_right, right)
        left = tl.where(turns, turned, left)
    return left.to(dtype).to(tl.float32), right.to(dtype).to(tl.float32)
