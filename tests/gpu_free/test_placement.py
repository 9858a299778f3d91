"""Where a model goes on a box whose GPU torch does not use, or has no kernels for."""

from collections.abc import Callable

import pytest
import torch

from engine.config import profiles
from engine.config.profile import Model
from engine.errors import LoadError
from engine.machine import doctor, hardware
from engine.plan import device_memory
from engine.worker.checkpoints.placement import place
from tests.gpu_free.fake_nvml import Box, Gpu

WISH: Model = profiles.find("random:tiny").model


def with_gpu(monkeypatch: pytest.MonkeyPatch, torch_build: str, cuda: int) -> None:
    """A box with one, this build of torch, and a driver for that CUDA."""
    box = Box(Gpu("GPU-1"))
    box.torch, box.cuda = torch_build, cuda
    box.install(monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("torch_build", "cuda", "why"),
    [
        ("the CPU", 13000, "torch is built for the CPU"),
        ("CUDA 13.0", 12080, "torch is built for CUDA 13.0, and the driver for CUDA 12"),
        ("ROCm 6.4", 13000, "torch is built for ROCm 6.4"),
    ],
)
def test_a_gpu_that_torch_does_not_use_is_planned_noted_and_told(
    monkeypatch: pytest.MonkeyPatch, torch_build: str, cuda: int, why: str
) -> None:
    with_gpu(monkeypatch, torch_build, cuda)
    machine = hardware.detect()
    assert device_memory.device("auto", machine) == "cpu"
    assert device_memory.device("auto", machine, by_own_torch=False) == "cuda:0"
    with pytest.raises(LoadError, match=why):
        device_memory.device("cuda", machine)
    assert any(why in note for note in place(WISH, torch.bfloat16).notes)
    (told,) = (check for check in doctor.diagnose().checks if check.name == "torch" and check.state == "note")
    assert why in told.detail and "pip install" in told.fix


def test_a_driver_too_old_for_any_build_that_is_named_is_to_be_updated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_gpu(monkeypatch, "CUDA 13.0", 11080)
    unused = hardware.detect().unused
    assert unused is not None and unused.fix == "update the driver"


@pytest.mark.parametrize("visible", ["", "all", "7"])
def test_doctor_says_that_gpus_are_there_and_none_is_left(
    monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    with_gpu(monkeypatch, "CUDA 13.0", 13000)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    (told,) = (check for check in doctor._devices(hardware.detect()) if check.name == "gpu")
    assert told.state == "note" and f"CUDA_VISIBLE_DEVICES={visible} leaves none" in told.detail


@pytest.mark.parametrize(("build", "cuda"), [("CUDA 12.8", 13000), ("CUDA 12.9", 12040), ("", 12000)])
def test_a_driver_that_is_new_enough_is_used(monkeypatch: pytest.MonkeyPatch, build: str, cuda: int) -> None:
    with_gpu(monkeypatch, build, cuda)
    assert device_memory.device("auto", hardware.detect()) == "cuda:0"


@pytest.mark.parametrize(
    ("built", "capability", "has"),
    [
        (["sm_75", "sm_80", "sm_90"], (7, 0), False),
        (["sm_75", "sm_80", "sm_90"], (8, 9), True),
        (["sm_75", "sm_80", "sm_90"], (12, 0), False),
        (["sm_80", "sm_90a", "compute_90"], (12, 0), True),
        (["sm_100", "sm_120"], (10, 3), True),
        (["gfx90a"], (9, 0), True),  # another make's
    ],
)
def test_a_gpu_without_kernels_is_refused_before_the_first(
    monkeypatch: pytest.MonkeyPatch, built: list[str], capability: tuple[int, int], has: bool
) -> None:
    found: dict[str, Callable[..., object]] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_arch_list": lambda: built,
        "get_device_capability": lambda _=0: capability,
        "get_device_name": lambda _: "a card",
    }
    for name, answer in found.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    if has:
        assert place(WISH, torch.float16).device == torch.device("cuda:0")
    else:
        with pytest.raises(LoadError, match="no kernels for a card"):
            place(WISH, torch.float16)
