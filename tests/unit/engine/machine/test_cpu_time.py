"""Processor time: ours, our children's, everybody's."""

import asyncio
import os
import sys

from engine.machine.cpu_time import busy_s, used_s


async def test_our_own_children_are_no_others() -> None:
    spin = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    before_s = used_s(os.getpid())
    await (await asyncio.create_subprocess_exec(sys.executable, "-c", spin)).wait()
    assert used_s(os.getpid()) >= before_s + 0.25


def test_our_own_work_is_known() -> None:
    before_s, all_before_s = used_s(os.getpid()), busy_s()
    while used_s(os.getpid()) < before_s + 0.2:
        sum(range(10_000))
    assert busy_s() >= all_before_s + 0.1
    assert used_s(2**22 + 1) == 0  # nobody has this id
