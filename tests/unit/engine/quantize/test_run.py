"""Who makes a checkpoint."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine import paths
from engine.config.profile import Profile
from engine.quantize.run import Quantizing
from engine.session import launch
from engine.session.client import Session
from engine.session.worker_process import WorkerProcess


async def test_a_profile_with_a_server_is_quantized_in_one_worker_where_there_is_no_server(
    make_profile: Callable[..., Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    async def refused(name: str, *_: object) -> WorkerProcess:
        started.append(name)
        raise OSError("no process")

    monkeypatch.setattr(paths, "environments", lambda: tmp_path)  # without vLLM
    monkeypatch.setattr(WorkerProcess, "started", refused)
    opened: list[Session] = []

    def open_session(profile: Profile) -> Session:
        opened.append(Session(profile))
        return opened[-1]

    text = "model: {source: org/name}\nserve: {environment: vllm}\n"
    wanted = make_profile("both", text + "quantization: {method: gptq, format: compressed-tensors}")
    job = Quantizing(wanted, force=True, open_session=open_session)
    async for _ in job.run():
        pass
    assert started == ["both"] and job.failure and job.failure.message.startswith("cannot start a worker")
    assert [launch.first(session.profile) for session in opened] == [None]  # nothing is made before
