"""Captures are counted; on a CPU a capture is a plain run, with buffers as large as on a GPU."""

from collections.abc import Callable, Iterator

import pytest
import torch

from engine.config import runtime
from engine.worker.step import captured_step, cuda_graph, stepper
from tests.gpu.on_device import HAS_GPU

Run = Callable[[], None]


@pytest.fixture(autouse=True)
def captures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.device]]:
    """Grows by a device whenever something is captured on it."""
    made: list[torch.device] = []
    capture = cuda_graph.capture if HAS_GPU else _run

    def counted(run: Run, device: torch.device) -> Run:
        made.append(device)
        return capture(run, device)

    monkeypatch.setattr(cuda_graph, "capture", counted)
    if not HAS_GPU:
        _take_cpu_for_gpu(monkeypatch)
    yield made
    captured_step.step_of.cache_clear()
    captured_step.failures.clear()


def _run(run: Run, device: torch.device) -> Run:
    run()
    return run


def _take_cpu_for_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    capacity = runtime.capacity_tokens
    monkeypatch.setattr(
        runtime, "capacity_tokens", lambda held, device, expected=0: capacity(held, "cuda", expected)
    )
    monkeypatch.setattr(stepper, "REPLAYING", ("cpu",))
    monkeypatch.setattr(captured_step, "CAPTURING", ("cpu",))
