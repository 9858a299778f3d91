"""A server that is started for a side, by a real worker: a program that plays vLLM's answers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import torch
from safetensors.torch import save_file

from engine.config.profile import Generation, Model, Profile
from engine.config.serving.serve import Serve
from engine.config.sources import SHAPES
from engine.protocol.answers import Finished, Message, Prompted
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Staged
from engine.protocol.wire import Event
from engine.session.client import Session
from engine.worker.served.own import guard

FAKE = Path(__file__).with_name("fake_vllm.py")
Waiter = Callable[..., Awaitable[None]]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program says what it was told."""
    monkeypatch.setenv("FAKE_VLLM_TOLD", str(tmp_path / "told"))
    return tmp_path / "told"


@pytest.fixture
def side(tmp_path: Path, told: Path) -> Profile:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    python.chmod(0o755)
    folder = tmp_path / "a-model"
    folder.mkdir()
    (folder / "config.json").write_bytes((SHAPES / "tiny.json").read_bytes())
    save_file({"model.embed_tokens.weight": torch.zeros(8, 4)}, folder / "model.safetensors")
    args = ("--enforce-eager", "--max-model-len", "2048")
    serve = Serve(python=str(python), tensor_parallel=2, args=args)
    return Profile(name="side", model=Model(source=str(folder), dtype="bfloat16"), serve=serve)


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


def facts(told: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told.read_text()) if told.exists() else {}
    return found


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def is_gone(found: dict[str, Any]) -> bool:
    return not any(map(lives, found["pids"])) and not Path(found["folder"]).exists()


async def test_it_is_told_serves_and_leaves_nothing(side: Profile, told: Path) -> None:
    session = Session(side)
    events = await collect(session.load())
    found = facts(told)
    loaded = events[-1]
    assert isinstance(loaded, Loaded) and loaded.memory is None
    info = loaded.info
    assert (info.label, info.kernel, info.context_length) == ("bf16 vLLM", "vLLM 0.32.0", 2048)
    assert info.weights_bytes == 8 * 4 * 4 and info.served is not None and info.served.ids
    assert any("in advance" in note for note in info.notes)
    words = found["words"]
    assert words[2:4] == ["serve", side.model.source] and found["key"] not in words
    assert words[words.index("--tensor-parallel-size") + 1] == "2"
    staged = [event.subject for event in events if isinstance(event, Staged) and event.stage == "start"]
    assert staged == ["Resolved architecture: LlamaForCausalLM"]
    answered = await collect(session.generate((Message("user", "Hello"),), Generation(max_new_tokens=12)))
    assert isinstance(answered[0], Prompted) and answered[0].tokens == 42
    assert isinstance(answered[-1], Finished) and answered[-1].reason == "length"
    await session.close()
    assert is_gone(found)


async def test_why_it_ended_while_loading_is_said(side: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VLLM", "ends")
    session = Session(side)
    failed = (await collect(session.load()))[-1]
    await session.close()
    assert isinstance(failed, Failed)
    assert failed.message == "vLLM ended (exit code 1): ValueError: no room for the cache"
    assert "Engine core initialization failed" in failed.hint


@pytest.mark.parametrize("whom", ["worker", "server", "guard"])
async def test_whoever_is_killed_takes_the_others_along(
    whom: str, side: Profile, told: Path, wait_until: Waiter
) -> None:
    session = Session(side)
    assert isinstance((await collect(session.load()))[-1], Loaded)
    found, worker = facts(told), psutil.Process(session.pid)
    pids = {"worker": worker.pid, "server": found["pids"][0], "guard": worker.children()[0].pid}
    os.kill(pids[whom], signal.SIGKILL)
    failed = await session.ended()
    killed = "the worker was killed" if whom == "worker" else "vLLM ended"
    assert failed.kind == "worker_lost" and killed in failed.message
    await session.close()
    if whom != "guard":  # whose end leaves to the kernel what the server itself has started
        assert is_gone(found)
    await wait_until(lambda: not any(map(lives, pids.values())))
    if whom == "guard":
        os.kill(found["pids"][1], signal.SIGKILL)


async def test_a_load_is_cancelled(side: Profile, told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VLLM", "loading")
    session = Session(side)
    async for event in session.load():
        if isinstance(event, Staged) and event.stage == "start":
            session.cancel()
    assert isinstance(event, Failed) and event.kind == "cancelled"
    await session.close()
    assert is_gone(facts(told))


def test_who_ignores_the_request_to_end_is_killed(
    side: Profile, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "deaf")
    assert side.serve is not None and side.serve.python is not None
    words = ("-m", "vllm.entrypoints.cli.main", "serve", "x", "--port", "0")
    command = [sys.executable, "-I", "-S", guard.__file__, "0.1", side.serve.python, *words]
    monkeypatch.setenv("VLLM_API_KEY", "")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait() == guard.SIGNALLED + signal.SIGKILL
    assert is_gone(facts(told))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"quant_method": "bitsandbytes"},
            "a-model is quantized with bitsandbytes, which vLLM does not read",
        ),
        (None, "serve.python: /nowhere/python cannot be run"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_starts(
    change: dict[str, str] | None, said: str, side: Profile, told: Path
) -> None:
    file = Path(side.model.source) / "config.json"
    if change:
        file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": change}))
    else:
        side = msgspec.structs.replace(side, serve=Serve(python="/nowhere/python"))
    session = Session(side)
    failed = (await collect(session.load()))[-1]
    await session.close()
    assert isinstance(failed, Failed) and failed.message == said and not facts(told)
