"""CUDA graphs on a real GPU: what they write, when they are captured, and what a failed one leaves."""

import gc
from collections.abc import Iterator

import pytest
import torch

from engine.methods import BitsAndBytes, Full, Method
from engine.profile import Generation, Model, Profile
from engine.worker import cuda_graph, decode, rehearsal, replay
from engine.worker.kept_cache import KeptCache
from engine.worker.load import LoadedModel, load

pytestmark = pytest.mark.gpu
PROMPT = list(range(70, 110))
LONG = Generation(max_new_tokens=300, temperature=0.8, top_p=0.9, seed=3)
NF4, INT8 = BitsAndBytes(quant_type="nf4"), BitsAndBytes(bits=8)


@pytest.fixture(autouse=True)
def forget_failures() -> Iterator[None]:
    yield
    replay.failures.clear()


def loaded(method: Method) -> LoadedModel:
    model = Model(source="random:tiny", dtype="float32", device="cuda:0")
    return load(Profile(model=model, quantization=method), 1, lambda staged: None)


def written(model: LoadedModel, kept: KeptCache) -> tuple[list[int], decode.End]:
    cache = kept.take(PROMPT, model.model.config, LONG.max_new_tokens, cold=True)
    decode.prepare(model, cache)
    steps = list(decode.generate(model, PROMPT, LONG, lambda: False, cache))
    kept.keep(cache, [])
    assert isinstance(steps[-1], decode.End)
    return [step.id for step in steps if isinstance(step, decode.Token)], steps[-1]


@pytest.mark.parametrize("method", [Full(), NF4], ids=["full", "nf4"])
def test_a_graph_writes_what_single_kernels_write(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(method)
    graph, end = written(model, KeptCache())
    assert (end.mode, end.notes) == ("graph", ())
    monkeypatch.setattr(decode, "REPLAYING", ())
    assert written(model, KeptCache())[0] == graph


def test_answers_after_a_load_capture_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, kept = loaded(Full()), KeptCache()
    rehearsal.rehearsed(model, kept, lambda staged: None)
    monkeypatch.setattr(cuda_graph, "captured", None)
    assert [written(model, kept)[1].mode for _ in range(2)] == ["graph", "graph"]


def test_int8_with_outliers_is_not_captured_and_says_so() -> None:
    _, end = written(loaded(INT8), KeptCache())
    assert end.mode == "eager"
    assert "outliers" in end.notes[0]


def test_what_waits_is_refused_before_it_is_captured() -> None:
    x = torch.ones(8, device="cuda:0")
    with pytest.raises(RuntimeError, match="synchroniz"):
        cuda_graph.captured(lambda: (x.sum().item(), None)[1], x.device)


def test_a_failed_capture_leaves_stream_allocator_and_random_numbers() -> None:
    device = torch.device("cuda", 0)
    x, before = torch.ones(8, device=device), torch.cuda.current_stream(device)
    large = torch.empty(1 << 28, dtype=torch.uint8, device=device)

    def breaks() -> None:
        y = x * 2
        if torch.cuda.is_current_stream_capturing():
            float(y.sum())

    with pytest.raises(RuntimeError):
        cuda_graph.captured(breaks, device)
    assert torch.cuda.current_stream(device) == before
    del large
    gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved(device) < 1 << 28
    assert torch.randn(4, device=device).isfinite().all()
    z = torch.zeros(8, device=device)
    replayed = cuda_graph.captured(lambda: z.add_(x) and None, device)
    held = float(z[0])
    replayed()
    assert float(z[0]) == held + 1
