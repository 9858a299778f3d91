"""Workers in another Python: QuantDuel's code, and everything else from its own packages."""

import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine import paths
from engine.config.profile import Profile
from engine.config.worker_place import Worker
from engine.plan import advice
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Started
from engine.session import launch
from engine.session.client import Session


async def test_an_environments_python_runs_the_model_with_quantduels_code(
    make_profile: Callable[..., Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "environments", lambda: tmp_path / "environments")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    paths.environments().mkdir(parents=True)
    (paths.environments() / "same").symlink_to(sys.prefix)  # the libraries of this one
    session = Session(
        make_profile("there", "model: {source: 'random:tiny'}\nworker: {environment: same}"),
        native_step=False,
    )
    loading = session.load()
    assert isinstance(await anext(loading), Started)
    started = psutil.Process(session.pid).cmdline()[0]
    events = [event async for event in loading]
    assert isinstance(events[-1], Loaded), events[-1]
    assert started == str(paths.environments() / "same" / "bin" / "python")
    await session.close()


async def test_an_environment_that_is_not_there_is_named_with_what_shows_all(
    make_profile: Callable[..., Profile],
) -> None:
    session = Session(make_profile("gone", "model: {source: demo}\nworker: {environment: nowhere}"))
    (failed,) = [event async for event in session.load()]
    assert isinstance(failed, Failed) and failed.message == "there is no environment named nowhere here"
    assert failed.hint == "`quantduel env list` shows all"
    refused = advice.refusal(session.profile)
    assert refused is not None and refused.message == f"{failed.message} ({failed.hint})"


async def test_a_python_without_the_libraries_says_what_it_lacks(
    make_profile: Callable[..., Profile], tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'msgspec'\" >&2; exit 1\n")
    profile = make_profile("bare", f"model: {{source: 'random:tiny'}}\nworker: {{python: {python}}}")
    failed = launch.lacking_at(profile.worker)
    assert failed is not None and failed.message == f"worker.python: {python} cannot be run"
    python.chmod(0o755)
    (*_, failed) = [event async for event in Session(profile).load()]
    assert isinstance(failed, Failed)
    assert (
        failed.message == "the worker ended with exit code 1: ModuleNotFoundError: No module named 'msgspec'"
    )


def test_a_command_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrap").write_text("#!/bin/sh\n")
    (tmp_path / "wrap").chmod(0o755)
    monkeypatch.chdir(tmp_path)  # where it is, and is not started
    assert launch.lacking_at(Worker(launch=f"{tmp_path}/wrap")) is None
    for word in ("./wrap", "~/wrap"):
        failed = launch.lacking_at(Worker(launch=f"{word} worker"))
        assert failed is not None and "name it in full" in failed.hint


def test_what_a_started_server_reads_is_made_before(make_profile: Callable[..., Profile]) -> None:
    text = "model: {source: org/name}\nserve: {environment: vllm, tensor_parallel: 2}\n"
    assert launch.first(make_profile("plain", text)) is None
    made = launch.first(
        make_profile("made", text + "quantization: {method: gptq, format: compressed-tensors}")
    )
    assert made is not None and made.serve is None and made.needs_torch
    assert launch.farewell_s(make_profile("plain", text)) > 0 == launch.farewell_s(made)
