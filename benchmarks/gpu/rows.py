"""What a layer's products of many rows cost: bf16, the engine's int4 in tiles, and dequantized first.

    python -m benchmarks.gpu.rows

A line a number of rows: µs of all products of a Llama 3.1 8B layer, in CUDA graphs. Where tiles become the
slower way `engine/worker/step/cuda/many.py` should have its border. On a CPU small shapes only show that all
can be run, where Triton is installed and TRITON_INTERPRET=1.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu.products import GROUP, HAS_GPU, LAYER, Call, graph_us, has_triton, octets, rand

ROWS = (1, 4, 16, 32, 64, 128, 256, 512, 2048) if HAS_GPU else (16, 130)
Make = Callable[[int, int], Callable[[Tensor], Tensor]]
SETS = 3 if HAS_GPU else 1  # of weights, which take turns: more than a cache holds


def bf16(n: int, k: int) -> Callable[[Tensor], Tensor]:
    """cuBLAS on a GPU."""
    w = rand(n, k)
    return lambda x: functional.linear(x, w)


def in_tiles(n: int, k: int) -> Callable[[Tensor], Tensor]:
    """Groups of 128, with zero points."""
    from engine.worker.step.cuda import many

    return partial(many.multiplied, matrix=_matrix(n, k), group=GROUP)


def dequantized(n: int, k: int) -> Callable[[Tensor], Tensor]:
    """The same, and then cuBLAS."""
    from engine.worker.step.cuda import many

    held = _matrix(n, k)
    return lambda x: functional.linear(x, many.dequantized(held, k, GROUP, x.dtype))


def _matrix(n: int, k: int) -> Any:
    from engine.worker.step.cuda.kernels.matrix import Matrix

    return Matrix(octets(n, k // 2), n, scales=rand(n, k // GROUP), zeros=rand(n, k // GROUP))


WAYS = {"bf16": bf16, "tiles": in_tiles, "dequantized": dequantized}


@torch.inference_mode()
def main() -> None:
    """A line a number of rows."""
    if not has_triton():
        print("without Triton nothing can be compared")
        return
    for rows in ROWS:
        found = {name: _layer_us(make, rows) for name, make in WAYS.items()}
        said = "  ".join(f"{name} {us:.1f} µs" if HAS_GPU else f"{name} runs" for name, us in found.items())
        print(f"{rows:5} rows", said, flush=True)


def _layer_us(make: Make, rows: int) -> float:
    return sum(_product_us(make, rows, *shape) for shape in LAYER.values())


def _product_us(make: Make, rows: int, n: int, k: int) -> float:
    x = rand(rows, k)
    calls: list[Call] = [partial(make(n, k), x) for _ in range(SETS)]
    calls[0]()  # compiled, and buffers there, before a graph is captured
    return graph_us(calls) / len(calls)


if __name__ == "__main__":
    main()
