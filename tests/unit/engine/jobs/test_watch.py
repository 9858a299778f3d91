"""Others on the processors and on the GPUs while a row is measured."""

import asyncio
import sys
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from engine.jobs import watch as watching
from engine.jobs.watch import Watch, Worker, busy_processors
from tests.unit.engine.machine.test_gpu_state import gpu


async def test_a_watch_marks_the_gpus_of_each_worker() -> None:
    workers = [Worker(10, "cuda:0"), Worker(11, "cuda:1"), Worker(12, "cpu")]
    async with Watch(workers) as watch:
        watch.note(gpu(10, 99, mask=0x04))
        watch.note(replace(gpu(11), index=1))
    marks = [[mark for mark in watch.marks(worker) if "CPU" not in mark] for worker in workers]
    assert marks == [["another process on the GPU", "clocks throttled: power cap"], [], []]


async def test_others_on_the_processors_are_marked() -> None:
    """By an orphan: a child's time counts as ours once it was waited for."""
    spin = "import time; end = time.monotonic() + 1\nwhile time.monotonic() < end: pass"
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {spin!r}])"
    pipe = asyncio.subprocess.PIPE
    async with Watch([]) as watch:
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", orphan, stdout=pipe)
        await parent.communicate()  # the orphan has the pipe, too: this waits for its end
    (mark,) = watch.marks(Worker(1, "cpu"))
    assert mark.startswith("busy CPU: others ")


@pytest.mark.parametrize(
    ("device", "processors", "allowed"), [("cpu", 2, 0.2), ("cpu", 64, 0.5), ("cuda:0", 64, 6.4)]
)
def test_how_much_of_the_processors_others_may_use(device: str, processors: int, allowed: float) -> None:
    assert busy_processors(device, processors) == pytest.approx(allowed)


async def test_the_time_of_servers_that_answer_at_once_is_left_out_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others have one processor, for the one second in which no server answers."""
    now_s, others_s = 0.0, 0.0
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: now_s))
    async with Watch([]) as watch:
        monkeypatch.setattr(watch, "_others_s", lambda: others_s)
        watch._before = 0.0
        first, second = watch.left_out(), watch.left_out()
        with first:
            now_s, others_s = 4.0, 40.0
            second.__enter__()
            now_s, others_s = 10.0, 100.0
        now_s, others_s = 12.0, 120.0
        second.__exit__(None, None, None)
        now_s, others_s = 13.0, 121.0
    assert watch._others == pytest.approx(1.0)
