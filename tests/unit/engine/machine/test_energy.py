"""Energy counters: RAPL's files, NVML's function, and what is done without them."""

from pathlib import Path

import pynvml
import pytest

from engine.machine import energy
from engine.machine.energy import Meter
from engine.machine.gpu_state import GpuState
from engine.machine.vitals import gpu_text, host_text
from engine.protocol.model import Energy
from tests.gpu_free.fake_nvml import Box, Gpu


@pytest.fixture(autouse=True)
def _all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


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
    assert isinstance(meter, Meter) and meter.counter == "RAPL" and meter.joules() is None
    meter.begin()
    assert meter._begun and meter._begun.result() == (0.9, 0.0)
    (first / "energy_uj").write_text("100000")
    (second / "energy_uj").write_text("50000")
    assert meter.joules() == pytest.approx(0.2 + 0.05)
    meter.begin()
    assert meter._begun and meter._begun.result()
    (second / "energy_uj").unlink()
    assert meter.joules() is None


def test_what_is_not_there_or_may_not_be_read_is_no_counter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert energy.meter("cpu", tmp_path) == "no RAPL"
    file = zone(tmp_path, "intel-rapl:0", "package-0", 1) / "energy_uj"
    file.write_text("")
    assert energy.meter("cpu", tmp_path) == "no RAPL"
    refused = lambda path: (_ for _ in ()).throw(PermissionError) if path == file else "1000000"  # noqa: E731
    monkeypatch.setattr(Path, "read_text", refused)  # root may read whatever its mode is
    monkeypatch.setattr(energy, "_text", lambda path: "package-0" if path.name == "name" else "9")
    assert energy.meter("cpu", tmp_path) == "RAPL not readable"
    assert energy.described("RAPL not readable", "cpu") == Energy(lack="RAPL not readable")


def test_a_gpu_s_own_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box(Gpu("GPU-a", millijoules=[0, 5_000, 12_000]))
    box.install(monkeypatch)
    meter = energy.meter("cuda")
    assert isinstance(meter, Meter) and meter.counter == "NVML"
    meter.begin()
    assert meter._begun and meter._begun.result() == (5.0,)
    assert meter.joules() == 7.0
    meter.begin()
    assert meter.joules() is None  # the driver is gone


def test_without_a_driver_or_a_counter_of_its_own_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Box(Gpu("GPU-a", name="Tesla P40")).install(monkeypatch)
    assert energy.meter("cuda") == "not in NVML"

    def fails() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", fails)
    assert energy.meter("cuda") == "no NVML"


class Clock:
    """Time that passes where somebody waits for it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_idle_watts_are_from_one_move_of_the_counter_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that moves by 2 J every tenth of a second: over 0.17 s it would show 12 or 24 W."""
    clock = Clock()
    monkeypatch.setattr(energy, "time", clock)
    clock.now_s = 0.04
    meter = Meter("NVML", lambda: (2.0 * (clock.now_s // 0.1),), [0.0])
    assert meter.watts(0.17) == pytest.approx(20, rel=0.02)
    assert clock.now_s == pytest.approx(0.3, abs=0.01)


def test_a_counter_that_does_not_move_has_no_watts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "time", Clock())
    assert Meter("NVML", lambda: (1.0,), [0.0]).watts(0.01) is None


@pytest.mark.parametrize(("pids", "is_shared"), [((), False), ((1,), True)])
def test_the_idle_draw_of_a_gpu_is_marked_where_others_are_on_it(
    pids: tuple[int, ...], is_shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "IDLE_S", 0.01)
    Box(Gpu("GPU-a", pids=pids, millijoules=range(0, 10**9, 1000))).install(monkeypatch)
    found = energy.described(energy.meter("cuda"), "cuda")
    assert found.counter == "NVML" and found.idle_watts and found.idle_is_shared is is_shared


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
