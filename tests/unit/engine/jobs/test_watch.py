"""Others on the processors and on the GPUs while a row is measured."""

import asyncio
import sys

import pytest
from msgspec.structs import replace

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
