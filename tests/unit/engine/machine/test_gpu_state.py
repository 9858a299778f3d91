"""What a GPU's counters mean."""

from engine.machine.gpu_state import GpuState, foreign, slowdowns


def gpu(*pids: int, mask: int = 0) -> GpuState:
    return GpuState(
        index=0,
        name="X",
        sm_mhz=None,
        sm_max_mhz=None,
        memory_mhz=None,
        power_w=None,
        power_cap_w=None,
        temperature_c=None,
        slowdowns=slowdowns(mask),
        pids=pids,
    )


def test_foreign_processes_on_a_gpu() -> None:
    assert foreign(gpu(10, 11), own={10, 11}, own_here=2) == 0
    assert foreign(gpu(10, 99), own={10, 11}, own_here=1) == 1
    assert foreign(gpu(1, 2), own={10, 11}, own_here=2) == 0  # a container shows other ids
    assert foreign(gpu(1, 2, 3), own={10, 11}, own_here=2) == 1
    assert foreign(gpu(), own={10}, own_here=1) == 0  # … or none


def test_slowdowns_in_words() -> None:
    assert slowdowns(0x01 | 0x02) == ()  # idle, and clocks set by a user: no fault
    assert slowdowns(0x04 | 0x20) == ("power cap", "thermal slowdown")
