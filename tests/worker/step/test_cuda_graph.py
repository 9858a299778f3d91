"""A capture that fails leaves torch as it was. torch's own CUDA part is a recorder here: there is no GPU."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.worker.step import cuda_graph

DEVICE = torch.device("cuda", 0)
POOL = (0, 7)


class FakeCuda:
    """What torch.cuda is asked for, and in which state that leaves it."""

    def __init__(self) -> None:
        self.streams = ["main"]
        self.said: list[str] = []
        self.sync_mode: int | str = 0
        self.is_capturing = False
        self.pool_is_open = False
        self.pool_uses = 0
        self.generator = "as it was"
        self.end_fails = False

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake: dict[str, object] = {
            "CUDAGraph": lambda: self,
            "graph_pool_handle": lambda: POOL,
            "device": lambda device: nullcontext(),
            "Stream": lambda device: SimpleNamespace(name="side", wait_stream=lambda other: None),
            "current_stream": lambda device: SimpleNamespace(wait_stream=lambda other: None),
            "stream": self._on_stream,
            "synchronize": lambda device: None,
            "empty_cache": lambda: self.said.append("empty_cache"),
            "get_sync_debug_mode": lambda: self.sync_mode,
            "set_sync_debug_mode": lambda mode: setattr(self, "sync_mode", mode),
            "default_generators": [self],
        }
        for name, value in fake.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self._end_pool)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", self._release_pool)
        fresh = SimpleNamespace(graphsafe_get_state=lambda: "fresh")
        monkeypatch.setattr(
            torch, "Generator", lambda device: SimpleNamespace(manual_seed=lambda seed: fresh)
        )

    @contextmanager
    def _on_stream(self, stream: Any) -> Any:
        self.streams.append(stream.name)
        try:
            yield
        finally:
            self.streams.pop()

    def capture_begin(self, *, pool: object, capture_error_mode: str) -> None:
        assert (pool, capture_error_mode) == (POOL, "thread_local")
        self.is_capturing = self.pool_is_open = True
        self.pool_uses += 1

    def capture_end(self) -> None:
        """torch up to 2.11: the driver's complaint comes before the allocator is told."""
        self.is_capturing = False
        if self.end_fails:
            raise RuntimeError("operation failed due to a previous error during capture")
        self.pool_is_open = False

    def reset(self) -> None: ...

    def replay(self) -> None:
        self.said.append("replay")

    def _end_pool(self, index: int, pool: object) -> None:
        if not self.pool_is_open:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.pool_is_open = False

    def _release_pool(self, index: int, pool: object) -> None:
        self.pool_uses -= 1

    def initial_seed(self) -> int:
        return 5

    def graphsafe_set_state(self, state: str) -> None:
        self.generator = state


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    made = FakeCuda()
    made.patch(monkeypatch)
    return made


def test_it_is_run_before_it_is_captured_and_the_replay_is_the_graphs(fake: FakeCuda) -> None:
    runs: list[tuple[str, bool, int | str]] = []
    replay = cuda_graph.capture(
        lambda: runs.append((fake.streams[-1], fake.is_capturing, fake.sync_mode)), DEVICE
    )
    assert runs == [("side", False, 0)] * 2 + [("side", False, "error"), ("side", True, 0)]
    replay()
    assert fake.said == ["empty_cache", "replay"]


def test_no_garbage_is_collected_within_a_capture(fake: FakeCuda) -> None:
    collects: list[bool] = []
    cuda_graph.capture(lambda: collects.append(gc.isenabled()), DEVICE)
    assert collects == [True] * 3 + [False] and gc.isenabled()


def test_what_waits_for_the_device_is_noticed_before_a_capture_begins(fake: FakeCuda) -> None:
    def waits() -> None:
        if fake.sync_mode == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="synchronizing"):
        cuda_graph.capture(waits, DEVICE)
    assert fake.pool_uses == 0
    assert (fake.sync_mode, fake.streams) == (0, ["main"])


@pytest.mark.parametrize("end_fails", [False, True])
def test_a_failed_capture_leaves_stream_pool_allocator_and_random_numbers_as_they_were(
    fake: FakeCuda, end_fails: bool
) -> None:
    def breaks() -> None:
        if fake.is_capturing:
            raise torch.OutOfMemoryError("CUDA out of memory")

    fake.end_fails = end_fails
    with pytest.raises(RuntimeError):
        cuda_graph.capture(breaks, DEVICE)
    assert fake.streams == ["main"]
    assert not fake.is_capturing
    assert not fake.pool_is_open
    assert fake.pool_uses == 0
    assert fake.generator == "fresh"


def test_a_replay_is_on_the_graphs_own_device(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[torch.device] = []

    def on(device: torch.device) -> AbstractContextManager[None]:
        devices.append(device)
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "device", on)
    replay: Callable[[], None] = cuda_graph.capture(lambda: None, torch.device("cuda", 1))
    replay()
    assert devices == [torch.device("cuda", 1)] * 2
