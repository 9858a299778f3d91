"""Energy counters: RAPL's files, NVML's function, and what is done without them."""

from pathlib import Path

import pynvml
import pytest

from engine.machine import energy
from engine.machine.gpu_state import GpuState
from engine.machine.vitals import gpu_text, host_text


def zone(root: Path, name: str, label: str, microjoules: int, size: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{size}\n")
    return folder


def test_packages_are_summed_and_counters_that_begin_again_are_followed(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    zone(tmp_path, "intel-rapl:0:0", "core", 5)
    zone(tmp_path, "intel-rapl:2", "psys", 5)
    meter = energy.meter("cpu", tmp_path)
    assert meter and meter.joules() is None
    meter.begin()
    assert meter._begun and meter._begun.result() == (0.9, 0.0)
    (first / "energy_uj").write_text("100000")
    (second / "energy_uj").write_text("50000")
    assert meter.joules() == pytest.approx(0.2 + 0.05)
    (second / "energy_uj").unlink()
    assert meter.joules() is None


def test_what_may_not_be_read_is_no_counter(tmp_path: Path) -> None:
    assert energy.meter("cpu", tmp_path) is None
    (zone(tmp_path, "intel-rapl:0", "package-0", 1) / "energy_uj").write_text("")
    assert energy.meter("cpu", tmp_path) is None


def test_a_gpu_s_own_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    millijoules = iter([0, 5_000, 12_000])
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(energy.nvidia, "devices", lambda nvml: [type("D", (), {"handle": 0})])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: next(millijoules))
    meter = energy.meter("cuda")
    assert meter
    meter.begin()
    assert meter._begun and meter._begun.result() == (5.0,)
    assert meter.joules() == 7.0
    assert meter.joules() is None  # the driver is gone


def test_without_a_driver_there_is_no_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", fails)
    assert energy.meter("cuda") is None


def test_a_line_says_what_is_known() -> None:
    known = GpuState(
        index=0,
        name="NVIDIA H100",
        sm_mhz=1755,
        sm_max_mhz=1980,
        memory_mhz=None,
        power_w=412.3,
        power_cap_w=700.0,
        temperature_c=63,
        use_percent=87,
        memory_used_bytes=31 << 30,
        memory_total_bytes=80 << 30,
        slowdowns=("power cap",),
        pids=(),
    )
    assert gpu_text(known) == "cuda:0 H100  87 %  31.00 GiB of 80.00 GiB  412 W  63 °C  1755 MHz  power cap"
    assert host_text().startswith("cpu ") and " of " in host_text()
