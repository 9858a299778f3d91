"""Attention of one token to those in a cache, split over the cache's length.

The kernel rotates queries and key (RoPE), writes key and value into the cache at the position that it reads
from the device, and attends to what is held: programs beyond that return at once, and the last one of a head
combines. Flash-decoding's split (Dao et al., 2023), online softmax (Milakov and Gimelshein, 2018).

Heads are read as two halves, which RoPE turns against each other. The queries of a key are rows of a product
on tensor cores, most of them empty: fewer instructions than one query after the other takes.
"""

import triton
import triton.language as tl

LOWEST = tl.constexpr(-1e30)
"""A score of nothing: finite, so that differences are."""
AT_ONCE = tl.constexpr(8)
"""Splits that are added up at once."""


@triton.jit(do_not_specialize=["capacity", "span", "splits"])
def attend(
    qkv, query_norm, key_norm, epsilon, cosine, sine, position, keys, values, partial, extremes, arrived, out,
    scale, capacity, span, splits,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, HALF: tl.constexpr, ROTARY: tl.constexpr,
    GROUP: tl.constexpr, BLOCK: tl.constexpr, MOST: tl.constexpr,
):  # fmt: skip
    """out [batch, heads, size] of qkv [batch, heads + 2 · kv heads, size].

    cosine, sine [ROTARY] of the position rotate a head's first ROTARY numbers, which may be none; keys,
    values [batch, kv heads, capacity, size]; float32 partial [batch · kv heads, splits, GROUP, 2 · HALF] and
    extremes [batch · kv heads, splits, GROUP, 2]; int32 arrived [batch · kv heads], 0 before and afterwards.
    GROUP, HALF: powers of two, 16 or more, that hold the queries of a key, and half a head. `span` positions
    are a program's, BLOCK of them are read at once; there are `splits` programs a head, at most MOST.
    """
    head = tl.program_id(0)  # of keys and values, in all sequences
    split = tl.program_id(1)
    held = tl.load(position).to(tl.int32)  # so many tokens, and the new one goes to this position
    active = held // span + 1
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
    q = _rotated(at, wanted, query_norm, epsilon, cosine, sine, dtype, lane, half, apart, SIZE, ROTARY)
    at = token + (HEADS + kv) * SIZE + half
    k = _rotated(at, exists, key_norm, epsilon, cosine, sine, dtype, lane, half, apart, SIZE, ROTARY)
    at = token + (HEADS + KV_HEADS + kv) * SIZE + half
    v = _loaded(at, exists, apart)

    cache = head.to(tl.int64) * capacity * SIZE
    is_last = split == active - 1
    largest, total, left, right = _begun(
        is_last, keys, values, cache, q, k, v, scale, held, half, apart, exists, SIZE, HALF, GROUP
    )
    largest, total, left, right = _over_cache(
        keys, values, cache, q[0].to(dtype), q[1].to(dtype), largest, total, left, right,
        scale, held, split * span, span, half, apart, exists, SIZE, BLOCK,
    )  # fmt: skip

    slot = (head * splits + split) * GROUP + group  # [GROUP]
    tl.store(extremes + 2 * slot, largest)
    tl.store(extremes + 2 * slot + 1, total)
    tl.store(partial + slot[:, None] * (2 * HALF) + lane, left, mask=wanted)
    tl.store(partial + slot[:, None] * (2 * HALF) + HALF + lane, right, mask=wanted)
    tl.debug_barrier()  # all of the program's threads have written before it says so
    if tl.atomic_add(arrived + head, 1, sem="acq_rel", scope="gpu") == active - 1:
        tl.debug_barrier()
        to = sequence * HEADS + kv * QUERIES + group
        into = out + to[:, None] * SIZE + half
        first = head * splits
        _combined(partial, extremes, into, first, active, group, wanted, lane, apart, HALF, GROUP, MOST)
        tl.store(arrived + head, 0)


@triton.jit
def _begun(
    is_last, keys, values, cache, q, k, v, scale, held, half, apart, exists,
    SIZE: tl.constexpr, HALF: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Largest scores, sums, and both halves of weighted values, of nothing: [GROUP], [GROUP, HALF].

    The last program's are of the new token, whose key and value it writes to the place `held` of the cache.
    """
    dtype = keys.dtype.element_ty
    largest = tl.full([GROUP], LOWEST, tl.float32)
    total = tl.zeros([GROUP], tl.float32)
    left = tl.zeros([GROUP, HALF], tl.float32)
    right = tl.zeros([GROUP, HALF], tl.float32)
    if is_last:
        new = cache + held.to(tl.int64) * SIZE + half
        _store(keys + new, k[0], k[1], exists, apart)
        _store(values + new, v[0], v[1], exists, apart)
        largest = tl.sum(q[0] * k[0] + q[1] * k[1], 1) * scale
        total += 1.0
        left += v[0].to(dtype).to(tl.float32)
        right += v[1].to(dtype).to(tl.float32)
    return largest, total, left, right


@triton.jit
def _over_cache(
    keys, values, cache, q_left, q_right, largest, total, left, right,
    scale, held, begin, span, half, apart, exists, SIZE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Online softmax goes on over `span` positions from `begin` on, those held, of the head at `cache`."""
    dtype = keys.dtype.element_ty
    for first in range(begin, tl.minimum(begin + span, held), BLOCK):
        places = first + tl.arange(0, BLOCK)
        where = cache + places[:, None].to(tl.int64) * SIZE + half
        filled = (places < held)[:, None] & exists
        key_left = tl.load(keys + where, mask=filled, other=0.0)
        key_right = tl.load(keys + where + apart, mask=filled, other=0.0)
        value_left = tl.load(values + where, mask=filled, other=0.0)
        value_right = tl.load(values + where + apart, mask=filled, other=0.0)
        scores = tl.dot(q_left, tl.trans(key_left), input_precision="ieee")
        scores = tl.dot(q_right, tl.trans(key_right), scores, input_precision="ieee") * scale
        scores = tl.where((places < held)[None, :], scores, LOWEST)  # [GROUP, BLOCK]
        highest = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp(scores - highest[:, None])
        shrunk = tl.exp(largest - highest)
        total = total * shrunk + tl.sum(weights, 1)
        left = tl.dot(weights.to(dtype), value_left, left * shrunk[:, None], input_precision="ieee")
        right = tl.dot(weights.to(dtype), value_right, right * shrunk[:, None], input_precision="ieee")
        largest = highest
    return largest, total, left, right


@triton.jit
def _combined(
    partial, extremes, out, first, active, group, wanted, lane, apart,
    HALF: tl.constexpr, GROUP: tl.constexpr, MOST: tl.constexpr,
):  # fmt: skip
    """The splits of a head as one attention, to `out` [GROUP, HALF]. A nearby cache may be old: past it."""
    all_largest, all_totals, _all_slots = _extremes(extremes, first, tl.arange(0, MOST), active, group, GROUP)
    largest = tl.max(all_largest, 0)
    total = tl.sum(all_totals * tl.exp(all_largest - largest[None, :]), 0)
    left = tl.zeros([GROUP, HALF], tl.float32)
    right = tl.zeros([GROUP, HALF], tl.float32)
    for begin in range(0, active, AT_ONCE):
        splits = begin + tl.arange(0, AT_ONCE)
        its_largest, _its_total, slots = _extremes(extremes, first, splits, active, group, GROUP)
        its = (tl.exp(its_largest - largest[None, :]) / total[None, :])[:, :, None]
        at = partial + slots[:, :, None] * (2 * HALF) + lane[None, :, :]
        at = tl.max_contiguous(at, [1, 2, HALF])  # all splits of a number to one thread
        there = (splits < active)[:, None, None] & wanted[None, :, :]
        left += tl.sum(tl.load(at, mask=there, other=0.0, cache_modifier=".cg") * its, 0)
        at = tl.max_contiguous(at + HALF, [1, 2, HALF])
        right += tl.sum(tl.load(at, mask=there, other=0.0, cache_modifier=".cg") * its, 0)
    _store(out, left, right, wanted, apart)


@triton.jit
def _extremes(extremes, first, splits, active, group, GROUP: tl.constexpr):
    """Largest scores and sums of some splits, [splits, GROUP], and where each is."""
    slots = (first + splits)[:, None] * GROUP + group[None, :]
    there = (splits < active)[:, None] & (group >= 0)[None, :]
    largest = tl.load(extremes + 2 * slots, mask=there, other=LOWEST, cache_modifier=".cg")
    return largest, tl.load(extremes + 2 * slots + 1, mask=there, other=0.0, cache_modifier=".cg"), slots


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
