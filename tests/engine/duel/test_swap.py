"""One model loaded at a time."""

import asyncio
import json
import time
from collections.abc import Callable

import pytest

from engine import cli
from engine.config import profiles
from engine.config.profile import Generation, Profile
from engine.duel import prefetch
from engine.duel.duel import Duel
from engine.protocol.answers import Decoded, Finished, Prefilled, Prompted
from engine.session.client import Session


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
    packed = profiles.find("smollm2-q4-llama-cpp")  # its worker needs no torch: no long start
    duel = Duel([Session(packed), Session(packed)], "swap")
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
