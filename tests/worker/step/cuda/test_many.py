"""What is compiled for many rows, by Triton's own bookkeeping: without a device, and without compiling."""

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from engine.worker.step.cuda import many
from engine.worker.step.cuda.kernels import tiles
from engine.worker.step.cuda.kernels.matrix import Matrix

pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="interpreted: not compiled")
COLUMNS, GROUP = 256, 128


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The kernels that would have been compiled, a name each time."""
    found: list[str] = []
    device = {"get_current_device": lambda: 0, "get_current_stream": lambda device=None: 0}
    target = {"get_current_target": lambda: GPUTarget("cuda", 90, 32)}
    monkeypatch.setattr(driver, "_active", SimpleNamespace(**device, **target))
    for name in ("tiled", "dequantize"):
        kernel = getattr(tiles, name)
        monkeypatch.setattr(kernel, "_do_compile", noting(kernel, name, found))
        monkeypatch.setattr(tiles, name, Launched(kernel))
    yield found
    tiles.tiled.kernel.device_caches.clear()
    tiles.dequantize.kernel.device_caches.clear()


def noting(kernel: Any, name: str, found: list[str]) -> Callable[..., object]:
    def compile(key: object, signature: object, device: int, *given: object) -> object:
        found.append(name)
        return kernel.device_caches[device][0].setdefault(key, object())

    return compile


class Launched:
    """A kernel that is compiled for its arguments and not launched."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: object) -> Callable[..., object]:
        return lambda *given, **sizes: self.kernel.warmup(*given, grid=grid, **sizes)


def matrix(rows: int, **given: Any) -> Matrix:
    scales, zeros = torch.zeros(2, rows, COLUMNS // GROUP, dtype=torch.bfloat16).unbind()
    held = torch.zeros(rows, COLUMNS // 2, dtype=torch.uint8)
    return Matrix(held, rows, scales=scales, zeros=zeros, **given)


def test_nothing_is_compiled_for_a_number_of_rows(compiled: list[str]) -> None:
    held = matrix(64)
    for rows in (2, 9, 16, 17, 32, 33, 63, 64, 100, 128):
        many.multiplied(torch.zeros(rows, COLUMNS, dtype=torch.bfloat16), held, GROUP)
    assert compiled == ["tiled"] * len(many.TILES)


def test_matrices_share_kernels_whatever_their_size_and_order(compiled: list[str]) -> None:
    order, bias = torch.arange(COLUMNS, dtype=torch.int32), torch.zeros(64, dtype=torch.bfloat16)
    x = torch.zeros(16, COLUMNS, dtype=torch.bfloat16)
    for held in (matrix(64), matrix(4096), matrix(64, order=order)):
        many.multiplied(x, held, GROUP)
    assert compiled == ["tiled"]
    for held in (matrix(64), matrix(64, order=order), matrix(64, bias=bias)):
        many.dequantized(held, COLUMNS, GROUP, torch.bfloat16)
    assert compiled == ["tiled", "dequantize"]
