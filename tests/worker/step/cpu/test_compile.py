"""Compiled code is made by one process for all."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

from engine.worker.step.cpu import compile


def test_of_several_at_once_one_compiles_and_the_others_find_it(tmp_path: Path) -> None:
    together, order = Barrier(4), list[tuple[int, str]]()

    def load(who: int) -> None:
        together.wait()
        with compile.compiling_once(tmp_path):
            order.append((who, "begins"))
            Event().wait(0.05)  # in which, did they not wait, all would begin
            order.append((who, "has it"))

    with ThreadPoolExecutor(4) as several:
        list(several.map(load, range(4)))
    assert [who for who, _ in order[::2]] == [who for who, _ in order[1::2]]
    with compile.compiling_once(tmp_path), compile.compiling_once(tmp_path):
        pass  # from then on nobody waits
