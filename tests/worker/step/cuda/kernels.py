"""Each kernel against the same in float64: layouts, edges, batches. `test_interpreted` runs this."""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from engine.worker.step.cuda.kernels.attention import attend
from engine.worker.step.cuda.kernels.linear import linear, swiglu
from engine.worker.step.cuda.kernels.matrix import INT4, INT8_DYNAMIC, PLAIN, Matrix
from tests.worker.step.cuda.matrices import error, made

EPSILON = 1e-5
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CLOSE = 1e-6 if IS_INTERPRETED else 1e-5  # a GPU's own exp, root and division are approximate
pytestmark = [] if IS_INTERPRETED else pytest.mark.gpu


@pytest.fixture(autouse=True)
def _device() -> Iterator[None]:
    """Interpreted on a CPU, or compiled on a GPU."""
    torch.set_default_device("cpu" if IS_INTERPRETED else "cuda")
    yield
    torch.set_default_device(None)


WIDTHS = (10, 6, 3)


def normed(x: Tensor, weight: Tensor) -> Tensor:
    x = x.double()
    return x * (x.square().mean(-1, keepdim=True) + EPSILON).rsqrt() * weight.double()


def run_linear(
    x: Tensor, matrices: list[Matrix], kind: int, *, group: int = 8, rows: int = 4, **given
) -> Tensor:
    """float32 [batch, all rows]; NaN where nothing was written."""
    norm, residual = given.get("norm"), given.get("residual")
    batch = len(x)
    out = torch.full((batch, sum(each.rows for each in matrices)), torch.nan)
    programs = sum(-(-each.rows // rows) for each in matrices)
    padded = [*matrices, None, None][:3]
    sizes = {"K": x.shape[1], "GROUP": group, "KIND": kind}
    whole = x.shape[1] % 64 == 0 and all(each.rows % rows == 0 for each in matrices)
    blocks = {"B": 1 << (batch - 1).bit_length(), "ROWS": rows, "BLOCK": 64, "WHOLE": whole}
    linear[(programs,)](
        x, norm, EPSILON, residual, given.get("scale"), out, batch, *padded, len(matrices), **sizes, **blocks
    )
    return out


@pytest.mark.parametrize(
    ("columns", "batch", "dtype"),
    [(576, 1, torch.bfloat16), (96, 3, torch.float32), (96, 1, torch.float16), (200, 8, torch.float32)],
)
def test_plain_matrices_side_by_side_after_a_norm(columns: int, batch: int, dtype: torch.dtype) -> None:
    x, norm = torch.randn(batch, columns).to(dtype), (1 + torch.randn(columns) / 10).to(dtype)
    weights = [(torch.randn(rows, columns) / 20).to(dtype) for rows in WIDTHS]
    bias = torch.randn(WIDTHS[0]).to(dtype)
    matrices = [Matrix(each, len(each), bias if each is weights[0] else None) for each in weights]
    right = normed(x, norm) @ torch.cat(weights).double().T
    right[:, : WIDTHS[0]] += bias.double()
    assert error(run_linear(x, matrices, PLAIN.value, norm=norm), right) < CLOSE


@pytest.mark.parametrize("scale", [None, 0.3])
def test_a_residual_is_added(scale: float | None) -> None:
    x, weight, residual = torch.randn(2, 96), torch.randn(10, 96), torch.randn(2, 10)
    found = run_linear(x, [Matrix(weight, 10)], PLAIN.value, residual=residual, scale=scale)
    assert error(found, x.double() @ weight.double().T * (scale or 1) + residual.double()) < CLOSE


INT4_CASES = [
    *((96, 32, options) for options in ("", "zeros", "code", "order", "nested")),
    *((*sizes, "zeros") for sizes in ((320, 64), (96, 96), (80, 16), (104, 24), (104, 32))),
]


@pytest.mark.parametrize(("columns", "group", "options"), INT4_CASES)
def test_int4_in_groups(columns: int, group: int, options: str) -> None:
    x, norm = torch.randn(2, columns), 1 + torch.randn(columns) / 10
    held = [made(rows, columns, group, torch.float32, options) for rows in WIDTHS]
    found = run_linear(x, [each.matrix for each in held], INT4.value, group=group, norm=norm)
    right = normed(x, norm) @ torch.cat([each.by_input for each in held]).T
    lost = 1 if options == "code" else 20  # what numbers are offset by takes some bits of float32's sums
    assert error(found, right) < lost * CLOSE


@pytest.mark.parametrize(("threshold", "with_norm"), [(0.0, False), (2.0, True)])
def test_int8_with_rounded_inputs_and_outliers(threshold: float, with_norm: bool) -> None:
    x, norm = torch.randn(2, 576), 1 + torch.randn(576) / 10
    held, scales = torch.randint(-127, 128, (10, 576), dtype=torch.int8), torch.rand(10)
    a = normed(x, norm) if with_norm else x.double()
    outlier = (a.abs() >= threshold) & (threshold > 0)
    inliers = a.masked_fill(outlier, 0)
    absmax = inliers.abs().amax(1, keepdim=True)
    weight = held.double() * scales.double()[:, None] / 127
    right = (inliers * 127 / absmax).round() * absmax / 127 @ weight.T + a.masked_fill(~outlier, 0) @ weight.T
    matrix = Matrix(held, 10, scales=scales, threshold=threshold)
    found = run_linear(x, [matrix], INT8_DYNAMIC.value, norm=norm if with_norm else None)
    assert error(found, right) < 1e-3  # a value at the middle of a step may be rounded to either side


@pytest.mark.parametrize("together", [False, True])
def test_swiglu(together: bool) -> None:
    x, norm = torch.randn(2, 200), 1 + torch.randn(200) / 10
    gate, up, out = torch.randn(10, 200) / 10, torch.randn(10, 200) / 10, torch.full((2, 10), torch.nan)
    sizes = {"K": 200, "GROUP": 8, "KIND": PLAIN.value, "B": 2, "ROWS": 4, "BLOCK": 64, "WHOLE": False}
    both = (Matrix(torch.cat((gate, up)), 20), None) if together else (Matrix(gate, 10), Matrix(up, 10))
    swiglu[(3,)](x, norm, EPSILON, out, 2, 10, *both, 1 if together else 2, **sizes)
    a = normed(x, norm)
    right = torch.nn.functional.silu(a @ gate.double().T) * (a @ up.double().T)
    assert error(out, right) < CLOSE


@pytest.mark.parametrize("held", [0, 15, 16, 40])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "size", "rotary", "norms"),
    [(6, 2, 24, 24, False), (2, 2, 32, 24, True), (3, 1, 40, 0, False)],
)
def test_attention_over_a_cache_of_which_some_is_held(
    held: int, heads: int, kv_heads: int, size: int, rotary: int, norms: bool
) -> None:
    batch, capacity, span = 2, 48, 16
    qkv = torch.randn(batch, heads + 2 * kv_heads, size)
    keys, values = torch.randn(2, batch, kv_heads, capacity, size).unbind()
    cosine, sine = torch.randn(2, rotary).unbind()
    weights = [1 + torch.randn(size) / 10 for _ in range(2)] if norms else [None, None]
    right = attention(qkv, keys, values, held, heads, cosine, sine, weights)
    group, half, splits = (
        16,
        max(16, 1 << (size // 2 - 1).bit_length()),
        capacity // span,
    )
    partial = torch.full((batch * kv_heads, splits, group, 2 * half), torch.nan)
    extremes = torch.full((batch * kv_heads, splits, group, 2), torch.nan)
    arrived, out = (
        torch.zeros(batch * kv_heads, dtype=torch.int32),
        torch.full((batch, heads, size), torch.nan),
    )
    before = keys.clone()
    given = (
        cosine,
        sine,
        torch.tensor([held]),
        keys,
        values,
        partial,
        extremes,
        arrived,
        out,
        size**-0.5,
        capacity,
        span,
        splits,
    )
    sizes = {
        "HEADS": heads,
        "KV_HEADS": kv_heads,
        "SIZE": size,
        "HALF": half,
        "ROTARY": rotary,
        "GROUP": group,
    }
    attend[(batch * kv_heads, splits)](qkv, *weights, EPSILON, *given, **sizes, BLOCK=16, MOST=4)
    found, key, value = right
    assert error(out, found) < CLOSE
    assert error(keys[:, :, held], key) < CLOSE and torch.equal(values[:, :, held].double(), value)
    others = torch.arange(capacity) != held
    assert torch.equal(keys[:, :, others], before[:, :, others]) and not arrived.any()


def attention(qkv, keys, values, held, heads, cosine, sine, weights) -> tuple[Tensor, Tensor, Tensor]:
    """In float64: what comes out, and the key and value of the new token."""
    kv_heads, size = keys.shape[1], keys.shape[3]
    query, key, value = qkv.double().split((heads, kv_heads, kv_heads), dim=1)

    def rotated(x: Tensor, norm: Tensor | None) -> Tensor:
        x = x if norm is None else normed(x, norm)
        turned, rest = x.split((len(cosine), x.shape[-1] - len(cosine)), dim=-1)
        left, right = turned.chunk(2, dim=-1)
        turned = turned * cosine.double() + torch.cat((-right, left), dim=-1) * sine.double()
        return torch.cat((turned, rest), dim=-1)

    query, key = rotated(query, weights[0]), rotated(key, weights[1])
    all_keys = torch.cat((keys[:, :, :held].double(), key[:, :, None]), dim=2)
    all_values = torch.cat((values[:, :, :held].double(), value[:, :, None]), dim=2)
    spread = [each.repeat_interleave(heads // kv_heads, dim=1) for each in (all_keys, all_values)]
    scores = (spread[0] @ query[..., None])[..., 0] * size**-0.5
    return (scores.softmax(-1)[:, :, None] @ spread[1])[:, :, 0], key, value
