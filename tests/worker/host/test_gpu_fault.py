"""A GPU that answers no more ends its worker, and the front end hears why."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.config.profile import Generation, Model, Profile
from engine.errors import LoadError
from engine.protocol.answers import Generate, Message
from engine.protocol.failure import Failed
from engine.protocol.loading import Load, Loaded
from engine.session.client import Session
from engine.worker import serve
from engine.worker.host import gpu_fault, memory

ASSERTED = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"
FAULTY = f"""
from pathlib import Path

from transformers import LlamaForCausalLM

class Faulty(LlamaForCausalLM):
    def forward(self, *args, **options):
        if (Path(self.config.name_or_path) / "faulty").exists():
            raise RuntimeError({ASSERTED!r})
        return super().forward(*args, **options)
"""


@pytest.fixture
def faulty(parrot: Callable[..., Path]) -> Profile:
    """A model that loads, and whose every answer meets a fault."""
    folder = parrot("a", "b")
    (folder / "modeling_faulty.py").write_text(FAULTY)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_faulty.Faulty"}
    (folder / "config.json").write_text(json.dumps(config))
    return Profile(
        name="faulty", model=Model(source=str(folder), dtype="float32", device="cpu", trust_remote_code=True)
    )


async def test_its_worker_says_so_and_ends_and_another_can_be_loaded(
    faulty: Profile, wait_until: Callable[..., object]
) -> None:
    session = Session(faulty)
    assert isinstance([event async for event in session.load()][-1], Loaded)
    marker = Path(faulty.model.source) / "faulty"
    marker.touch()
    ask = session.generate((Message("user", "go"),), Generation(max_new_tokens=2))
    failed = [event async for event in ask][-1]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.hint) == ("worker_lost", "load it again")
    assert failed.message.endswith("CUDA error: device-side assert triggered")
    ended = await session.ended()
    assert (ended.kind, ended.message) == ("worker_lost", "the worker ended after a fault of its GPU")
    assert not session.ready
    await session.close()
    marker.unlink()
    again = session.again()
    assert isinstance([event async for event in again.load()][-1], Loaded)
    await again.close()


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError(ASSERTED), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_faults_are_told_from_other_errors(error: Exception, is_lost: bool) -> None:
    assert gpu_fault.is_lost(error) == is_lost
    told = LoadError("it could not be loaded")
    told.__cause__ = error
    assert gpu_fault.is_lost(told) == is_lost


def test_a_fault_that_no_words_tell_shows_when_the_gpu_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert not gpu_fault.is_lost(IndexError("list index out of range"))
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    assert gpu_fault.is_lost(IndexError("list index out of range"))


def test_memory_that_is_not_given_back_ends_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def broken() -> None:
        tried.append("empty_cache")
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", broken)
    serve._release(Load(profile=Profile(model=Model(source="random:tiny"))))
    assert tried == ["empty_cache"]


@pytest.mark.parametrize(("free", "is_given_back"), [(10, True), (500, False)])
def test_after_an_answer_memory_is_given_back_only_where_little_is_free(
    free: int, is_given_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda gpu: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda gpu: 100)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (free, 1000))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    assert memory.is_wanted_by_others() == is_given_back
    serve._release(Generate(request=1, messages=(), generation=Generation()))
    assert bool(emptied) == is_given_back


@pytest.mark.parametrize("device", ["auto", "cuda:0", "split"])
def test_a_limit_of_the_hosts_memory_is_refused_for_a_model_on_a_gpu(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile(model=Model(source="random:tiny", device=device))
    command = Load(profile=profile, memory_limit_bytes=1 << 30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(LoadError, match="host's memory"):
        serve._limit_memory(command)


def test_an_error_raised_from_itself_is_looked_at_once() -> None:
    error = LoadError("no such folder")
    error.__cause__ = error  # as `raise error from error` leaves it
    assert not gpu_fault.is_lost(error)
