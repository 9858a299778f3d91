"""A worker that runs out of memory, one model loaded at a time, and what the kernel's counters tell."""

import asyncio
import ctypes
import json
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import cli
from engine.config import profile
from engine.config.profile import Generation, Profile
from engine.duel import prefetch
from engine.duel.duel import Duel
from engine.duel.swap import MemoryReturn, return_text
from engine.machine import oom_kill
from engine.protocol import Decoded, Failed, Finished, Prefilled, Prompted
from engine.session.client import Session
from engine.units import GIB, MIB


async def test_a_limited_worker_ends_in_a_result_that_says_what_to_try() -> None:
    session = Session(profile.find("smollm2-fp32"), memory_limit_bytes=400 * MIB)
    try:
        events = [event async for event in session.load()]
    finally:
        await session.close()
    failed = events[-1]
    assert isinstance(failed, Failed) and failed.kind == "out_of_memory"
    assert "400.0 MiB allowed" in failed.message and "planned for" in failed.message
    assert "smollm2-" in failed.hint


def test_one_model_at_a_time_answers_on_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["duel", "random-tiny-bf16", "random:tiny", "-p", "Hi", "--schedule", "swap"]
    assert cli.run([*args, "--memory-limit", "900MiB", "--max-new-tokens", "4", "--json"]) == 0
    out, err = capsys.readouterr()
    turn = json.loads(out)
    assert turn["schedule"] == "swap" and turn["input"]["identical"] and turn["first_divergence"] is None
    assert all(side["load_s"] and side["memory"]["weights_bytes"] for side in turn["sides"])
    (returned,) = turn["memory_returns"]
    assert returned["profile"] == "random-tiny-bf16" and returned["free_after_bytes"] > 0
    assert "random-tiny-bf16 ended: cpu has" in err


def test_a_load_that_cannot_fit_is_refused_without_a_worker(capsys: pytest.CaptureFixture[str]) -> None:
    huge = "random:llama-3.1-70b"
    assert cli.run(["duel", huge, huge, "-p", "Hi", "--memory-limit", "8GiB", "--json"]) == 3
    out, err = capsys.readouterr()
    assert [side["error"]["kind"] for side in json.loads(out)["sides"]] == ["out_of_memory"] * 2
    assert "does not fit" in err and "--force" in err and "Traceback" not in err


def test_kills_are_counted_by_the_innermost_group(tmp_path: Path) -> None:
    inner = tmp_path / "groups" / "job"
    inner.mkdir(parents=True)
    own, system = tmp_path / "cgroup", tmp_path / "vmstat"
    own.write_text("0::/job\n")
    system.write_text("pgfault 1\noom_kill 9\n")
    assert oom_kill.count(tmp_path / "groups", own, system) == 9
    (inner / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert oom_kill.count(tmp_path / "groups", own, system) == 2
    assert oom_kill.count(tmp_path / "none", tmp_path / "none", tmp_path / "none") is None


def test_the_files_of_the_next_load_are_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1234")
    wanted = profile.find(str(tmp_path))
    assert prefetch.files(wanted) == [tmp_path / "model.safetensors"]
    assert prefetch.prefetch(wanted) == 4
    assert prefetch.prefetch(profile.find("random:tiny")) == 0


def test_a_file_is_read_ahead_to_its_end(tmp_path: Path) -> None:
    """One request for all of it would be cut at what the device reads ahead, such as 8 MiB."""
    file = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text("{}")
    with file.open("wb") as content:
        content.write(bytes(24 * MIB))
        os.fsync(content.fileno())
        os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    wanted = profile.find(str(tmp_path))
    assert prefetch.prefetch(wanted) == 24 * MIB
    deadline_s = time.monotonic() + 60
    while (there := resident_bytes(file)) < 24 * MIB:
        assert time.monotonic() < deadline_s, f"{there} bytes are in the page cache"
        time.sleep(0.01)
    assert prefetch.prefetch(wanted, lambda: True) == 0


def resident_bytes(file: Path) -> int:
    """How much of a file is in the page cache."""
    size, libc = file.stat().st_size, ctypes.CDLL(None)
    with file.open("r+b") as content, mmap.mmap(content.fileno(), size) as pages:
        there = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
        start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        assert libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), there) == 0
    return sum(page & 1 for page in there) * mmap.PAGESIZE


async def test_nothing_is_read_ahead_while_a_side_is_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the files of either side never end."""
    spans: list[tuple[int, int]] = []

    def endless(wanted: Profile, is_over: Callable[[], bool]) -> int:
        began_ns = time.monotonic_ns()
        while not is_over():
            time.sleep(0.001)
        spans.append((began_ns, time.monotonic_ns()))
        return 0

    monkeypatch.setattr(prefetch, "prefetch", endless)
    tiny = profile.find("random:tiny")
    duel = Duel([Session(tiny), Session(tiny)], "swap")
    try:
        clocks = dict[int, list[int]]({0: [], 1: []})
        async for side, event in duel.ask("Hi", Generation(max_new_tokens=4)):
            if isinstance(event, Prompted | Prefilled | Decoded | Finished):
                clocks[side].append(event.ns)
    finally:
        await asyncio.gather(*(session.close() for session in duel.sessions))
    assert len(spans) == 2 and all(clocks.values())
    for began_ns, ended_ns in spans:
        for stamps in clocks.values():
            assert ended_ns <= stamps[0] or began_ns >= stamps[-1]


def test_memory_that_does_not_come_back_is_said() -> None:
    kept = MemoryReturn(
        side=0,
        profile="a",
        device="cuda:0",
        free_before_bytes=20 * GIB,
        free_loaded_bytes=4 * GIB,
        free_after_bytes=5 * GIB,
        memory_returned=False,
        waited_s=5.0,
    )
    assert "5.00 GiB free, which is not back" in return_text(kept)
