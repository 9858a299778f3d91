"""Captures kernels as one CUDA graph, in such a way that a failure leaves nothing behind.

Owns stream, memory pool and what a failed capture would leave in torch: a stream that stays current, an
allocator that believes a capture is under way, a generator that waits for its end. Must not know models.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

WARM_UPS = 2  # before a capture: libraries choose kernels and allocate in their first calls


def capture(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """`run` as a graph: its replay. RuntimeError where `run` waits for the device or cannot be captured.

    It is run several times first.
    """
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    with torch.cuda.device(device):
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                run()
            with _no_waiting():
                run()
            torch.cuda.synchronize(device)
            torch.cuda.empty_cache()  # no memory can be freed while a capture is under way
            _capture(graph, run, device, pool)
        torch.cuda.current_stream(device).wait_stream(side)

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Within it torch raises where the host waits for the device: in a capture that would break more."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _capture(
    graph: torch.cuda.CUDAGraph, run: Callable[[], None], device: torch.device, pool: tuple[int, int]
) -> None:
    """On the current stream. Calls of other threads do not disturb it."""
    try:
        with _nothing_collected():
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                run()
            finally:
                graph.capture_end()
    except BaseException:
        _abandon(graph, device, pool)
        raise


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Within it Python collects no garbage: what frees things of CUDA's would be part of the capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _abandon(graph: torch.cuda.CUDAGraph, device: torch.device, pool: tuple[int, int]) -> None:
    """Undo what a capture began. torch's versions differ in what they undo, and raise if it is done twice."""
    index = torch.cuda.current_device() if device.index is None else device.index
    with suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(index, pool)
    with suppress(RuntimeError):
        graph.reset()
    with suppress(RuntimeError):
        torch._C._cuda_releasePool(index, pool)
    with suppress(RuntimeError):  # torch's own generator would go on waiting for the capture's end
        generator = torch.cuda.default_generators[index]
        fresh = torch.Generator(device).manual_seed(generator.initial_seed())
        generator.graphsafe_set_state(fresh.graphsafe_get_state())
