"""`quantduel bench` with real workers on tiny random models."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from engine import cli, profile
from engine.bench import document
from engine.bench.document import Document
from engine.bench.events import Advanced, BenchEvent, Checked, Filled, Loading, Noted
from engine.bench.plan import Settings, distinct
from engine.bench.run import ALONE, Bench
from engine.profile import Profile

CALL = [sys.executable, "-c", "from engine.cli import main; main()"]
TINY = profile.of_model("random:tiny")
HUGE = 10**12  # sequences: no machine holds their token ids


def begun(*profiles: Profile, **changes: object) -> Document:
    settings = {"contexts": (16,), "steps": 4, "repeat": 2} | changes
    return document.begun(Settings(profiles=distinct(profiles), **settings))


async def collect(events: AsyncIterator[BenchEvent]) -> list[BenchEvent]:
    return [event async for event in events]


async def test_two_profiles_take_turns_and_pass_the_self_check() -> None:
    bench = Bench(begun(TINY, TINY, contexts=(16, 48), batches=(2,)), self_check=True)
    events = await collect(bench.run())
    rows = bench.document.rows
    assert [(row.batch, row.context) for row in rows] == [(2, 16), (2, 16), (2, 48), (2, 48)]
    for row in rows:
        assert row.error is None and row.label == "bf16" and row.kernel
        assert row.decode_tok_s and len(row.decode_tok_s.samples) == 2 == len(row.stamps)
        assert row.peak_bytes and row.bandwidth_share and row.kv_cache_bytes
    steps = [event for event in events if isinstance(event, Advanced)]
    a, b = (found.name for found in bench.document.header.settings.profiles)
    assert [step.profile for step in steps[:8]] == [a, a, b, b, a, b, b, a]
    assert [step.doing for step in steps[:5]] == ["warm-up", "memory"] * 2 + ["repeat 1 of 2"]
    backwards = steps[len(steps) // 2]
    assert (backwards.profile, backwards.shape) == (b, rows[-1].shape)
    assert [event.again for event in events if isinstance(event, Filled)] == [False] * 4 + [True] * 4
    assert isinstance(events[0], Loading) and isinstance(events[-1], Checked)
    found = {check.name: check.verdict for check in bench.document.checks}
    found.pop("order changes nothing")  # a matter of speeds
    assert list(found.values()) == ["passed"] * 3


async def test_what_does_not_fit_beside_others_is_tried_alone_and_is_a_row() -> None:
    bench = Bench(begun(TINY, TINY, batches=(HUGE, 1), repeat=1))
    events = await collect(bench.run())
    assert Noted(ALONE) in events and bench.document.header.notes == (ALONE,)
    rows = bench.document.rows
    assert [(row.batch, row.error and row.error.kind) for row in rows] == [
        *[(HUGE, "out_of_memory")] * 2,
        *[(1, None)] * 2,
    ]
    assert bench.document.missing() == []


async def test_a_profile_that_cannot_be_loaded_leaves_the_others_working(tmp_path: Path) -> None:
    (tmp_path / "gone.yaml").write_text("model: {source: ./nothing-here}\n")
    broken = profile.read(tmp_path / "gone.yaml")
    bench = Bench(begun(broken, TINY, contexts=(16, 3000), depth=True, generator="hf", repeat=1))
    await collect(bench.run())
    rows = bench.document.rows
    found = [(row.profile == "gone", row.error and row.error.kind) for row in rows]
    assert found == [(True, "not_loaded"), (False, None), (True, "not_loaded"), (False, "bad_input")]
    assert list(bench.document.header.models) == [TINY.name]
    assert rows[1].evidence and rows[1].evidence.cached_tokens == (16 + 128 + 4 - 1,)
    window = rows[-1].error
    assert window and window.message == "3132 tokens do not fit the model's context window of 2048"


def test_ctrl_c_keeps_what_is_done_and_resume_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    args = ["bench", "random:tiny", "--contexts", "16,32,1000", "--steps", "20", "--repeat", "20"]
    pipe = subprocess.PIPE
    running = subprocess.Popen([*CALL, *args, "--out", str(out)], stdout=pipe, stderr=pipe)
    while running.poll() is None and not (out.exists() and document.read(out).rows):
        time.sleep(0.05)
    workers = psutil.Process(running.pid).children(recursive=True)
    os.kill(running.pid, signal.SIGINT)
    shown, errors = running.communicate(timeout=30)
    assert running.returncode == 130 and b"Traceback" not in errors
    assert workers and not psutil.wait_procs(workers, timeout=5)[1]
    kept = json.loads(out.read_text())["rows"]
    assert 1 <= len(kept) < 3 and kept[0]["context"] == 16
    assert b"  16  " in shown and b"  1000  " not in shown
    assert list(tmp_path.iterdir()) == [out]
    assert cli.run([*args, "--resume", str(out), "--format", "json"]) == 0
    assert capsys.readouterr().out == out.read_text()
    rows = json.loads(out.read_text())["rows"]
    assert [row["context"] for row in rows] == [16, 32, 1000] and rows[: len(kept)] == kept
    assert cli.run([*args, "--steps", "41", "--resume", str(out)]) == 2
    assert "its steps is 20, not 41" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--contexts", "32,x"], "no list of positive numbers"),
        (["--contexts", "0"], "no list of positive numbers"),
        (["--steps", "1"], "x>=2"),
        (["--out", "bench.pdf"], "the name ends in"),
        (["--out", "no/such/folder/bench.json"], "No such file or directory"),
        (["--resume", "nothing.json"], "No such file or directory"),
    ],
)
def test_bad_input_starts_nothing(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "random:tiny", *args]) == 2
    assert said in capsys.readouterr().err
