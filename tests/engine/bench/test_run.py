"""`quantduel bench` with real workers on tiny random models."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from engine import cli
from engine.bench import document, rows
from engine.bench.document import Document
from engine.bench.plan import Settings, Shape
from engine.bench.run import ALONE, CONTENDED, Bench
from engine.config import profiles
from engine.config.profile import Profile
from engine.jobs.events import Advanced, Completed, JobEvent, Noted
from engine.jobs.profiles import distinct
from engine.protocol.failure import Failed
from engine.protocol.loading import Load
from engine.protocol.wire import Command
from engine.session.life import Life
from engine.worker.checkpoints.random_tokenizer import random_tokenizer

CALL = [sys.executable, "-c", "from engine.cli import main; main()"]
TINY = profiles.of_model("random:tiny")
HUGE = 10**12  # sequences: no machine holds their token ids


def begun(*profiles: Profile, **changes: object) -> Document:
    settings = {"contexts": (16,), "steps": 4, "repeat": 2} | changes
    return document.begun(Settings(profiles=distinct(profiles), **settings))


async def collect(events: AsyncIterator[JobEvent]) -> list[JobEvent]:
    return [event async for event in events]


@dataclass(frozen=True)
class Done:
    """A bench that has run, and what it reported."""

    document: Document
    events: list[JobEvent]


@pytest.fixture(scope="module")
async def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Two good profiles and a broken one, with the self-check; one row was there already."""
    file = tmp_path_factory.mktemp("broken") / "gone.yaml"
    file.write_text("model: {source: ./nothing-here.gguf}\nquantization: {method: llama_cpp}\n")
    empty = begun(TINY, TINY, profiles.read(file), contexts=(16, 48, 3000), batches=(2,))
    reported = Failed(kind="out_of_memory", message="reported before")
    there = rows.failed(rows.empty(TINY.name, Shape(3000, 2), None), reported)
    bench = Bench(document.resumed(empty.with_row(there), empty.header.settings), self_check=True)
    return Done(events=await collect(bench.run()), document=bench.document)


async def test_two_profiles_take_turns_and_pass_the_self_check(done: Done) -> None:
    found = [row for row in done.document.rows if row.error is None]
    assert [(row.batch, row.context) for row in found] == [(2, 16), (2, 16), (2, 48), (2, 48)]
    for row in found:
        assert row.label == "bf16" and row.kernel
        assert row.decode_tok_s and len(row.decode_tok_s.samples) == 2 == len(row.stamps)
        assert row.peak_bytes and row.bandwidth_share and row.kv_cache_bytes
        assert row.bottleneck and "so matmuls too small" in row.bottleneck
    steps = [event for event in done.events if isinstance(event, Advanced) and event.share is not None]
    a, b, _ = (found.name for found in done.document.header.settings.profiles)
    places = [f"{name}, context 16, batch 2" for name in (a, a, b, b, a, b, b, a)]
    assert [step.what for step in steps[:8]] == places
    assert [step.doing for step in steps[:5]] == ["warm-up", "memory"] * 2 + ["repeat 1 of 2"]
    backwards = steps[len(steps) // 2]
    assert backwards.what == f"{b}, {found[-1].shape.text}"
    assert done.events[0].words.startswith(f"{a}: resolve") and done.events[-1] == Completed("self-check")
    verdicts = {check.name: check.verdict for check in done.document.checks}
    verdicts.pop("order changes nothing")  # a matter of speeds
    assert list(verdicts.values()) == ["passed"] * 3


async def test_a_profile_that_cannot_be_loaded_leaves_the_others_working(done: Done) -> None:
    broken = [row for row in done.document.rows if row.profile == "gone"]
    assert [row.error and row.error.kind for row in broken] == ["not_loaded"] * 3
    assert "gone" not in done.document.header.models and len(done.document.header.models) == 2


async def test_a_row_measured_before_is_not_measured_again(done: Done) -> None:
    a, b, _ = (found.name for found in done.document.header.settings.profiles)
    errors = {
        row.profile: row.error and row.error.message for row in done.document.rows if row.context == 3000
    }
    assert errors[a] == "reported before"
    assert errors[b] == "3004 tokens do not fit the model's context window of 2048"
    reported = [event.what for event in done.events if isinstance(event, Completed)]
    first = [what for what in reported[:-1] if not what.endswith(", again")]
    assert f"{a}, context 3000, batch 2" not in first and len(first) == 8


@pytest.mark.thorough
async def test_what_does_not_fit_next_to_others_is_tried_alone_and_all_at_once_is_contended() -> None:
    settings = {"batches": (1, HUGE), "repeat": 1, "schedule": "concurrent"}
    bench = Bench(begun(TINY, TINY, **settings))
    events = await collect(bench.run())
    first, second, *crowded = bench.document.rows
    assert first.error is second.error is None
    assert [row.marks[0] for row in (first, second)] == [CONTENDED] * 2
    assert Noted(ALONE) in events and bench.document.header.notes == (ALONE,)
    assert [row.error and row.error.kind for row in crowded] == ["out_of_memory"] * 2
    assert bench.document.missing() == []


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Command]:
    """What workers are told."""
    found, send = list[Command](), Life.send

    def overheard(life: Life, command: Command) -> None:
        found.append(command)
        send(life, command)

    monkeypatch.setattr(Life, "send", overheard)
    return found


async def test_a_row_that_fails_leaves_the_next_ones_to_be_measured(sent: list[Command]) -> None:
    bench = Bench(begun(TINY, contexts=(3000, 16), batches=(HUGE, 1), repeat=1))
    await collect(bench.run())
    assert [(row.batch, row.context, row.error and row.error.kind) for row in bench.document.rows] == [
        (HUGE, 3000, "bad_input"),
        (HUGE, 16, "out_of_memory"),
        (1, 3000, "bad_input"),
        (1, 16, None),
    ]
    assert bench.document.rows[-1].decode_tok_s and bench.document.header.notes == ()
    assert [command.native_step for command in sent if isinstance(command, Load)] == [True]


def test_generate_is_measured_on_a_folder_by_its_path_as_transformers_loads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sent: list[Command]
) -> None:
    folder, out = tmp_path / "mine", tmp_path / "bench.json"
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 512}
    LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=2)).save_pretrained(folder)
    random_tokenizer(512, 2048).save_pretrained(folder)
    args = ["--generator", "hf", "--contexts", "16", "--steps", "4", "--repeat", "1", "--out", str(out)]
    assert cli.run(["bench", str(folder), *args]) == 0
    assert [command.native_step for command in sent if isinstance(command, Load)] == [False]
    assert "mine" in capsys.readouterr().out
    (row,) = document.read(out).rows
    assert row.error is None and row.decode_tok_s
    assert document.read(out).header.settings.profiles[0].model.source == str(folder)


def test_ctrl_c_keeps_what_is_done_and_resume_reads_it(
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
    less = [",".join(str(row["context"]) for row in kept) if arg == args[3] else arg for arg in args]
    assert cli.run([*less, "--resume", str(out), "--format", "json"]) == 0  # nothing is missing of these
    assert capsys.readouterr().out == out.read_text()
    assert json.loads(out.read_text())["rows"] == kept
    assert cli.run([*args, "--steps", "41", "--resume", str(out)]) == 2
    assert "its steps is 20, not 41" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--contexts", "32,x"], "not a list of positive numbers"),
        (["--contexts", "0"], "not a list of positive numbers"),
        (["--steps", "1"], "x>=2"),
        (["--concurrency", "1,4"], "tiny: a model in a worker answers one request at a time"),
        (["--out", "bench.pdf"], "the name ends in"),
        (["--out", "no/such/folder/bench.json"], "no/such/folder is not a folder"),
        (["--resume", "nothing.json"], "no such file"),
    ],
)
def test_bad_input_starts_nothing(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "random:tiny", *args]) == 2
    assert said in capsys.readouterr().err
