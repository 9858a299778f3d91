"""int4 by many rows, and dequantized, against the same in float64. `test_interpreted` runs it."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import triton.language as tl
from torch import Tensor
from triton.runtime import interpreter

from engine.worker.step.cuda import many
from engine.worker.step.cuda.int4 import Int4Linear
from engine.worker.step.cuda.trial import ROWS, Trial
from tests.worker.step.cuda.matrices import error, made

BF16, FP16 = torch.bfloat16, torch.float16
ROUNDED = {BF16: 2**-7, FP16: 2**-10}
"""What an interpreted rounding, which cuts, changes a number by at most, of its size."""
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = [] if IS_INTERPRETED else pytest.mark.gpu


@pytest.fixture(autouse=True)
def _device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Interpreted on a CPU, or compiled on a GPU."""
    if IS_INTERPRETED:
        monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", dot)
    torch.manual_seed(0)
    torch.set_default_device("cpu" if IS_INTERPRETED else "cuda")
    yield
    torch.set_default_device(None)


def dot(builder: Any, a: Any, b: Any, total: Any, *how: Any) -> Any:
    """Interpreted: as Triton has it, the bits of bf16 would be multiplied as whole numbers."""
    left, right = (builder.create_fp_ext(each, tl.float32).data for each in (a, b))
    return interpreter.TensorHandle(left @ right + total.data, tl.float32)


CASES = [
    # rows of x, outputs, columns, group, dtype: a tile of each width, with and without a rest
    (9, 100, 1152, 128, BF16, "zeros bias"),
    (16, 64, 576, 64, FP16, "zeros"),
    (33, 130, 576, 192, BF16, "bias"),
    (64, 128, 96, 32, FP16, ""),
    (17, 70, 1056, 1056, BF16, "zeros"),  # a group is a row, columns no multiple of a tile's
    (130, 40, 192, 32, BF16, "zeros"),
    (10, 40, 128, 64, BF16, "code"),
    (10, 40, 128, 64, FP16, "code nested bias"),
]


@pytest.mark.parametrize(("batch", "rows", "columns", "group", "dtype", "options"), CASES)
def test_products(batch: int, rows: int, columns: int, group: int, dtype: torch.dtype, options: str) -> None:
    x, (matrix, weights) = torch.randn(batch, columns).to(dtype), made(rows, columns, group, dtype, options)
    assert many.can_multiply(columns, group, dtype)
    found = many.multiplied(x, matrix, group)
    right = x.double() @ weights.T + (0 if matrix.bias is None else matrix.bias.double())
    assert found.dtype == dtype and error(found, right) < ROUNDED[dtype]
    assert not many._arrived(x.device).any()


def test_columns_are_shared_by_programs_and_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x, (matrix, weights) = torch.randn(40, 1056).to(FP16), made(200, 1056, 32, FP16, "zeros bias")
    found = []
    for least in (96, 10**6):  # 11 blocks a program, and one program for all
        monkeypatch.setattr(many, "LEAST_COLUMNS", least)
        monkeypatch.setattr(many, "PROGRAMS", 2 * many.PROGRAMS)
        many._arrived.cache_clear()
        found.append(many.multiplied(x, matrix, 32))
    right = x.double() @ weights.T + matrix.bias.double()
    assert max(error(each, right) for each in found) < ROUNDED[FP16]
    assert error(found[0], found[1].double()) < ROUNDED[FP16]
    many._arrived.cache_clear()


@pytest.mark.parametrize(
    ("rows", "columns", "group", "dtype", "options"),
    [
        (30, 576, 64, BF16, "zeros"),
        (7, 96, 96, FP16, "order"),
        (10, 100, 20, BF16, "code"),
        (10, 128, 64, torch.float32, "code nested"),
    ],
)
def test_a_matrix_as_numbers(rows: int, columns: int, group: int, dtype: torch.dtype, options: str) -> None:
    matrix, weights = made(rows, columns, group, dtype, options)
    found = many.dequantized(matrix, columns, group, dtype)
    assert error(found, weights) < ROUNDED.get(dtype, 1e-6)
    if "code" not in options:  # which torch's operators are not asked for
        by_torch = Int4Linear(matrix, columns, group).dequantized(dtype).double()
        assert error(found, by_torch) < ROUNDED[dtype]


def layer() -> tuple[Int4Linear, Tensor]:
    """As it is made of a checkpoint, and its weights in float64, columns in the inputs' order."""
    held = made(40, 96, 32, FP16, "zeros bias order")
    return Int4Linear(held.matrix, 96, 32), held.by_input


def equip(trial: Trial, each: Int4Linear) -> None:
    """With kernels that agree with torch's operators."""
    by_torch = Int4Linear(each.matrix, each.in_features, each.group)
    trial.equip(each, *trial.asked(by_torch, each.matrix.weights.device))


@pytest.mark.parametrize("rows", [2, many.MOST_ROWS, many.MOST_ROWS + 1])
def test_a_layer_multiplies_any_rows_with_kernels_that_agreed(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, weights = layer()
    trial = Trial(FP16)
    equip(trial, made)
    assert not trial.note and made.some_rows is not None and made.whole is not None
    monkeypatch.setattr(made, "whole" if rows <= many.MOST_ROWS else "some_rows", None)
    monkeypatch.setattr(made, "dequantized", None)  # torch's operators are not needed
    x = torch.randn(1, rows, 96).to(FP16)
    right = x.double() @ weights.T + made.matrix.bias.double()
    assert made(x).shape == right.shape and error(made(x), right) < ROUNDED[FP16]


def test_a_kernel_that_differs_is_left_out_from_there_on_and_a_note_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial, tried = Trial(FP16), []
    first, second = layer()[0], layer()[0]
    by_torch = Int4Linear(first.matrix, 96, 32)
    monkeypatch.setattr(many, "multiplied", lambda x, **given: tried.append(len(x)) or 1.1 * by_torch(x))
    for each in (first, second):
        equip(trial, each)
    assert first.some_rows is None and second.some_rows is None and tried == [ROWS[0]]
    assert second.whole is not None and second(torch.zeros(200, 96, dtype=FP16)).shape == (200, 40)
    assert "products of few rows without kernels (other numbers in a matrix of 40 × 96)" in trial.note


def test_a_kernel_that_fails_leaves_torchs_operators_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    trial, (each, weights) = Trial(FP16), layer()
    monkeypatch.setattr(many, "dequantized", lambda *given: 1 / 0)
    equip(trial, each)
    assert each.some_rows is not None and each.whole is None
    assert trial.note.endswith("dequantized weights without kernels (ZeroDivisionError: division by zero)")
    x = torch.randn(many.MOST_ROWS + 1, 96).to(FP16)
    assert error(each(x), x.double() @ weights.T + each.matrix.bias.double()) < ROUNDED[FP16]


def test_what_no_tile_fits_is_not_multiplied() -> None:
    assert not many.can_multiply(1056, 16, BF16) and not many.can_multiply(100, 100, BF16)
    assert not many.can_multiply(128, 128, torch.float32)
