"""Threads that give way to others and come back, on a machine whose clock and load the test sets."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from engine.worker.host.spare_cores import LOOK_S, SpareCores


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@dataclass
class Machine:
    """A clock, and what others have used of the processors."""

    now_s: float = 100.0
    used_s: float = 5000.0
    looks: int = 0

    def cores(self, most: int = 2, cores: int = 2, *, is_fixed: bool = False) -> SpareCores:
        clock = {"others_s": self.others_s, "clock_s": lambda: self.now_s}
        return SpareCores(most, is_fixed=is_fixed, cores=cores, **clock)

    def others_s(self) -> float:
        self.looks += 1
        return self.used_s

    def go_on(self, seconds: float, busy: float = 0.0) -> None:
        """Time passes, and others keep so many processors busy."""
        self.now_s += seconds
        self.used_s += seconds * busy


def adjusted(machine: Machine, cores: SpareCores, *busy: float, every_s: float = LOOK_S) -> list[int]:
    """torch's threads after each look, others keeping so many processors busy before it."""
    threads = []
    for processors in busy:
        machine.go_on(every_s, processors)
        cores.adjust()
        assert cores.threads == torch.get_num_threads()
        threads.append(cores.threads)
    return threads


def test_all_threads_are_set_at_once_and_kept_on_an_idle_machine() -> None:
    torch.set_num_threads(1)
    machine = Machine()
    cores = machine.cores()
    assert torch.get_num_threads() == 2
    assert adjusted(machine, cores, 0, 0.1, 0.3, 0) == [2, 2, 2, 2]
    assert cores.notes() == ()


def test_a_busy_core_costs_a_thread_until_it_is_free_again() -> None:
    machine = Machine()
    cores = machine.cores()
    assert adjusted(machine, cores, 1, 1, 0, 0.9, 0) == [1, 1, 2, 1, 2]
    assert cores.notes() == ("other processes kept cores busy: computed on 1 of 2 threads",)


def test_one_thread_remains_however_busy_the_machine_is() -> None:
    machine = Machine()
    assert adjusted(machine, machine.cores(), 2, 7) == [1, 1]


@pytest.mark.parametrize(
    ("most", "cores", "busy", "threads"),
    [(8, 8, 3.0, 5), (4, 8, 3.0, 4), (4, 8, 6.0, 2), (8, 8, 0.4, 8), (4, 2, 0.0, 2), (2, 2, -1.0, 2)],
)
def test_as_many_as_there_is_room_for_and_never_more_than_were_wanted(
    most: int, cores: int, busy: float, threads: int
) -> None:
    machine = Machine()
    assert adjusted(machine, machine.cores(most, cores), busy) == [threads]


@pytest.mark.parametrize(("most", "is_fixed"), [(2, True), (1, False)])
def test_a_fixed_number_is_set_and_never_looked_at_again(most: int, is_fixed: bool) -> None:
    machine = Machine()
    cores, looks = machine.cores(most, is_fixed=is_fixed), machine.looks
    assert adjusted(machine, cores, 2, 0) == [most, most]
    assert machine.looks == looks and cores.notes() == ()


def test_no_look_sooner_than_the_kernel_can_tell() -> None:
    machine = Machine()
    cores, looks = machine.cores(), machine.looks
    assert adjusted(machine, cores, 1, 1, 1, every_s=LOOK_S / 4) == [2, 2, 2]
    assert machine.looks == looks
    assert adjusted(machine, cores, 1, every_s=LOOK_S / 4) == [1]  # all that has passed since the last look
    assert adjusted(machine, cores, 0, 0, every_s=LOOK_S / 4) == [1, 1]
    assert machine.looks == looks + 1


def test_notes_name_the_fewest() -> None:
    machine = Machine()
    cores = machine.cores(4, 4)
    assert adjusted(machine, cores, 1, 3, 0) == [3, 1, 4]
    assert cores.notes() == ("other processes kept cores busy: computed on 1 of 4 threads",)
