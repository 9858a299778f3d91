"""A GPU's memory, its number and its faults, as workers and this process see them."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest
import torch

from engine.config.methods import Full
from engine.config.profile import Model, Profile
from engine.machine import hardware, nvidia
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded
from engine.protocol.runs import BenchRun, Measured
from engine.protocol.wire import Event
from engine.session.client import Session
from engine.units import MIB
from tests.gpu.on_device import DEVICE, HAS_GPU, WISH, cuda_only, profile

pytestmark = pytest.mark.gpu
LARGE = profile(Full(), "float32", "random:smollm2-135m")  # 513 MiB
UNUSED = 256 * MIB  # at most, of what is reserved after a load: a workspace or two, a small graph's pool
WaitUntil = Callable[..., Awaitable[None]]


async def events(session: Session) -> list[Event]:
    return [event async for event in session.load()]


def free_bytes() -> int:
    return hardware.free_by_device()[str(DEVICE)]


@contextmanager
def only_free(size: int) -> Iterator[None]:
    """This process takes the GPU's memory, but for so much."""
    torch.cuda.empty_cache()
    taken = torch.empty(torch.cuda.mem_get_info(DEVICE)[0] - size, dtype=torch.uint8, device=DEVICE)
    try:
        yield
    finally:
        del taken
        torch.cuda.empty_cache()


def test_a_peak_can_be_reset_before_cuda_has_begun() -> None:
    script = f"""
import torch
from engine.worker.host import memory
memory.reset_peak(torch.device("{DEVICE}"))
assert not torch.cuda.is_initialized()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


async def test_memory_is_counted_and_back_after_the_worker(wait_until: WaitUntil) -> None:
    before, session = free_bytes(), Session(LARGE)
    try:
        loaded = (await events(session))[-1]
        assert isinstance(loaded, Loaded)
        print(loaded.memory)
        held, pid = loaded.memory, session.pid
        assert 500 * MIB < held.weights_bytes <= held.process_bytes <= held.device_used_bytes
        assert held.device_used_bytes <= held.device_total_bytes and held.weights_bytes <= held.peak_bytes
        if HAS_GPU:
            assert held.reserved_bytes is not None
            assert held.weights_bytes <= held.reserved_bytes <= held.process_bytes
            assert held.reserved_bytes < held.weights_bytes + UNUSED
            assert before - free_bytes() >= held.weights_bytes
    finally:
        await session.close()
    assert pid is not None
    await wait_until(lambda: not psutil.pid_exists(pid))
    if HAS_GPU:
        await wait_until(lambda: free_bytes() >= before - 16 * MIB)


async def test_memory_that_runs_out_while_loading_is_told_and_back(wait_until: WaitUntil) -> None:
    if not HAS_GPU:
        libraries_bytes = (
            200 if torch.version.cuda is None else 550
        ) * MIB  # more than these, and not all of LARGE
        session = Session(LARGE, memory_limit_bytes=libraries_bytes + 500 * MIB)
        assert_out_of_memory((await events(session))[-1])
        await session.close()
        return
    torch.zeros(1, device=DEVICE)
    before = free_bytes()
    with only_free(800 * MIB):  # enough for CUDA's own, too little for the weights as well
        session = Session(LARGE)
        failed = (await events(session))[-1]
        await session.close()
    assert_out_of_memory(failed)
    await wait_until(lambda: free_bytes() >= before - 16 * MIB)


def assert_out_of_memory(failed: Event) -> None:
    assert isinstance(failed, Failed) and failed.kind == "out_of_memory" and failed.hint


@cuda_only
async def test_memory_that_runs_out_in_a_request_costs_that_request() -> None:
    session = Session(LARGE)
    try:
        assert isinstance((await events(session))[-1], Loaded)
        with only_free(64 * MIB):
            failed = await session.measure(BenchRun(context=8000, steps=8))  # 360 MiB of keys and values
        assert_out_of_memory(failed)
        measured = await session.measure(BenchRun(context=64, steps=8))
        assert isinstance(measured, Measured) and measured.decode == "graph"
    finally:
        await session.close()


async def test_a_worker_computes_where_its_profile_says() -> None:
    wishes = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if HAS_GPU else [WISH]
    for wish in wishes:
        session = Session(Profile(model=Model(source="random:tiny", device=wish)))
        loaded = (await events(session))[-1]
        await session.close()
        assert isinstance(loaded, Loaded) and loaded.info.device == wish


@cuda_only
def test_the_driver_and_torch_number_alike() -> None:
    with nvidia.driver() as nvml:
        uuids = [device.uuid for device in nvidia.devices(nvml)]
    said = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    assert [bare(uuid) for uuid in uuids] == [bare(str(each.uuid)) for each in said]
    found = hardware.detect().gpus
    assert [gpu.name for gpu in found] == [each.name for each in said]
    assert [gpu.capability for gpu in found] == [(each.major, each.minor) for each in said]


def bare(uuid: str) -> str:
    return uuid.removeprefix("GPU-").removeprefix("MIG-")


@cuda_only
async def test_a_fault_after_which_cuda_answers_no_more_is_known() -> None:
    script = """
import torch
from engine.worker.host import gpu_fault
try:
    torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")].sum().item()
except Exception as error:
    print(gpu_fault.is_lost(error), gpu_fault.message(error))
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    said, _ = await process.communicate()
    assert said.startswith(b"True the GPU failed")
