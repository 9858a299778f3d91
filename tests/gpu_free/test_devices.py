"""Which device is which: NVML and torch number alike, and a worker sees the one that it was asked for."""

import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pynvml
import pytest

from engine import paths
from engine.config.profile import Profile
from engine.jobs.watch import Watch, Worker
from engine.machine import gpu_state, hardware, nvidia
from engine.plan import device_memory
from engine.session.client import Session
from tests.gpu_free.fake_nvml import GIB, Box, Gpu

A, B, C = "GPU-aaaa1111", "GPU-bbbb2222", "GPU-bbcc3333"
MIG = ("MIG-1111", "MIG-2222")


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs GPUs, and CUDA_VISIBLE_DEVICES where it is given."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv(paths.GPU, raising=False)

    def install(*found: Gpu, visible: str | None = None) -> None:
        Box(*found).install(monkeypatch)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return install


@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        (None, (A, B, C)),
        ("", ()),
        ("1", (B,)),
        ("2,0", (C, A)),
        ("1,7,0", (B,)),  # what follows an entry that names nothing is not seen
        ("-1", ()),
        ("0,0", ()),
        (B, (B,)),
        ("GPU-aa", (A,)),
        ("GPU-bb", ()),  # two begin like this
        ("MIG-1111", ("MIG-1111",)),
        ("no", ()),
        ("9" * 5000, ()),
    ],
)
def test_what_is_visible_follows_cudas_rules(setting: str | None, seen: tuple[str, ...]) -> None:
    entries = None if setting is None else setting.split(",") if setting else []
    assert nvidia.visible(entries, (A, B, C), MIG) == seen


def test_devices_are_numbered_as_torch_does(box: Callable[..., None]) -> None:
    box(Gpu(A, name="first"), Gpu(B, name="second", free_bytes=7 * GIB), visible="1,0")
    found = hardware.detect().gpus
    assert [(gpu.index, gpu.name) for gpu in found] == [(0, "second"), (1, "first")]
    assert hardware.free_by_device()["cuda:0"] == 7 * GIB
    assert [(state.index, state.name) for state in gpu_state.states()] == [(0, "second"), (1, "first")]
    assert device_memory.memory("cuda:0", hardware.detect()).name == "second"


def test_without_visible_devices_there_is_no_gpu(box: Callable[..., None]) -> None:
    box(Gpu(A), visible="")
    assert hardware.detect().gpus == () and hardware.detect().gpu_problem == ""


def test_a_part_of_a_gpu_has_its_own_memory(box: Callable[..., None]) -> None:
    box(Gpu(A, parts=MIG), visible="MIG-2222")
    (found,) = hardware.detect().gpus
    assert (found.total_bytes, found.capability) == (10 * GIB, (9, 0)) and "MIG" in found.name
    assert nvidia.environment("cuda")["CUDA_VISIBLE_DEVICES"] == "MIG-2222"


def test_of_a_divided_gpu_the_first_part_is_seen(box: Callable[..., None]) -> None:
    box(Gpu(A, parts=MIG), Gpu(B))
    assert [gpu.total_bytes for gpu in hardware.detect().gpus] == [10 * GIB, 80 * GIB]


def test_a_gpu_that_is_to_be_divided_and_has_no_parts_is_not_seen(
    box: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    box(Gpu(A), Gpu(B, name="whole"))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMigMode", lambda gpu: (int(gpu.uuid == A), 0))
    assert [(gpu.index, gpu.name) for gpu in hardware.detect().gpus] == [(0, "whole")]


def test_a_gpu_without_memory_of_its_own_has_the_hosts(box: Callable[..., None]) -> None:
    box(Gpu(A, has_memory=False))
    (found,) = hardware.detect().gpus
    assert 0 < found.free_bytes <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("wish", "visible", "uuid", "number"),
    [
        ("auto", None, A, "0"),
        ("cuda", None, A, "0"),
        ("cuda:1", None, B, "1"),
        ("cuda:1", "1,0", A, "1"),
        ("cuda:0", B, B, "0"),
    ],
)
def test_a_worker_sees_the_one_device_it_is_for(
    box: Callable[..., None], wish: str, visible: str | None, uuid: str, number: str
) -> None:
    box(Gpu(A), Gpu(B), visible=visible)
    assert nvidia.environment(wish) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": uuid,
        "QUANTDUEL_GPU": number,
    }


def test_all_none_and_unknown_devices(box: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    box(Gpu(A), Gpu(B))
    assert "CUDA_VISIBLE_DEVICES" not in nvidia.environment("split")
    assert nvidia.environment("cpu") == {"CUDA_VISIBLE_DEVICES": ""}
    assert "CUDA_VISIBLE_DEVICES" not in nvidia.environment("cuda:2")  # torch will say that there is none

    def no_driver() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert "CUDA_VISIBLE_DEVICES" not in nvidia.environment("cuda:1")


def environment_of(pid: int | None) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")


async def test_a_real_worker_has_it_in_its_environment(
    box: Callable[..., None], make_profile: Callable[..., Profile]
) -> None:
    box(Gpu(A), Gpu(B))
    session = Session(make_profile(text="model: {source: 'random:tiny', device: 'cuda:1'}"))
    async for _ in session.load():  # ends with a failure: there is no GPU for torch
        set_there = environment_of(session.pid)
        break
    await session.close()
    assert f"CUDA_VISIBLE_DEVICES={B}" in set_there and "QUANTDUEL_GPU=1" in set_there
    assert os.environ.get("QUANTDUEL_GPU") is None


def test_a_worker_calls_its_one_device_what_the_user_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from engine.config.profile import Model
    from engine.worker.checkpoints.placement import place

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_arch_list", list)
    monkeypatch.setenv(paths.GPU, "1")
    placed = place(Model(source="random:tiny", device="cuda:1", dtype="float16"), torch.float16)
    assert (str(placed.device), placed.name) == ("cuda:0", "cuda:1")
    assert placed.where == {"device_map": {"": "cuda:0"}}


def test_others_on_the_workers_own_gpu_are_marked(box: Callable[..., None]) -> None:
    box(Gpu(A, pids=(4242,)), Gpu(B, pids=(17,)), visible="1,0")
    ours = Worker(pid=17, device="cuda:0")
    watch = Watch([ours])
    for state in gpu_state.states():
        watch.note(state)
    assert not any("another process" in mark for mark in watch.marks(ours))
    theirs = Worker(pid=99, device="cuda:1")  # a container hides our id, so torch's number counts
    watch = Watch([theirs])
    for state in gpu_state.states():
        watch.note(state)
    assert watch._gpus(theirs) == [1]
