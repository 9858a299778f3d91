"""CUDA graphs on a real GPU: what they compute, when they are captured, and what a failed one leaves."""

import gc

import pytest
import torch

from engine.config.methods import BitsAndBytes, Fp8, Full, Method
from engine.config.profile import Generation
from engine.worker.generate import decode, rehearsal
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.load import LoadedModel
from engine.worker.methods.fp8 import CAPABILITY, Fp8Linear
from engine.worker.step import cuda_graph, stepper
from engine.worker.step.captured_step import CapturedStep
from engine.worker.step.kv_cache import GrowingCache, growing_cache
from engine.worker.step.stepper import Stepper
from tests.gpu.on_device import DEVICE, PROMPT, cuda_only, loaded, written

pytestmark = pytest.mark.gpu
LONG = Generation(max_new_tokens=300, temperature=0.8, top_p=0.9, seed=3)
SHORT = Generation(max_new_tokens=32)
METHODS = {"full": Full(), "nf4": BitsAndBytes(quant_type="nf4"), "nested": BitsAndBytes(double_quant=True)}
INT8 = BitsAndBytes(bits=8)
HALVES = ("bfloat16", "float16")
OFF, OFF_IN_HALVES = 1e-4, 0.02  # of the largest logit


def test_a_graph_writes_what_single_kernels_write(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(Full())
    graph, end = written(model, KeptCache(), LONG)
    assert (end.mode, end.notes) == ("graph", ())
    monkeypatch.setattr(stepper, "REPLAYING", ())
    assert written(model, KeptCache(), LONG)[0] == graph


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_replay_computes_with_buffers_of_every_size(
    method: Method, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(method, dtype)
    is_exact = dtype not in HALVES and method == Full()  # bitsandbytes may compute in fewer bits
    most = OFF if is_exact else OFF_IN_HALVES
    for capacity in (256, 512, 2048):
        cache, single = (growing_cache(model.model.config, capacity) for _ in range(2))
        replaying = read(model, cache)
        with monkeypatch.context() as patch:
            patch.setattr(stepper, "REPLAYING", ())
            eager = read(model, single)
        assert cache.capacity_tokens == capacity
        for _ in range(8):
            off = stepped(replaying, eager, cache)
            assert off < most * float(eager.logits.abs().max()), (capacity, off)


def read(model: LoadedModel, cache: GrowingCache) -> Stepper:
    """Ready to step behind the prompt."""
    stepper = Stepper(model.model, cache)
    stepper.prepare(torch.zeros((1, 1), dtype=torch.long, device=DEVICE))
    stepper.read(torch.tensor([PROMPT], device=DEVICE))
    return stepper


@torch.inference_mode()
def stepped(replaying: Stepper, eager: Stepper, cache: GrowingCache) -> float:
    """How far the logits of both are apart behind the same token. No old ones can pass for new ones."""
    token = eager.logits.argmax(-1, keepdim=True)
    step = cache.captured_step
    assert isinstance(step, CapturedStep)
    step.logits.fill_(torch.nan)
    replaying.read(token)
    eager.read(token)
    assert replaying.mode == "graph" and eager.mode == "eager"
    return float((replaying.logits - eager.logits).abs().max().nan_to_num(torch.inf))


def test_no_cold_answer_holds_a_capture(captures: list[torch.device]) -> None:
    model, kept = loaded(Full()), KeptCache()
    rehearsal.rehearsed(model, kept, lambda staged: None)
    assert len(captures) == 1
    assert [written(model, kept, LONG, prepared=False)[1].mode for _ in range(3)] == ["graph"] * 3
    assert len(captures) == 1


def test_an_answer_that_outgrows_its_buffers_is_not_interrupted_by_a_capture(
    captures: list[torch.device],
) -> None:
    model = loaded(Full())
    cache = growing_cache(model.model.config)
    decode.prepare(model, cache)
    steps = list(decode.generate(model, PROMPT, LONG, lambda: False, cache))
    assert len(captures) == 1
    assert isinstance(steps[-1], decode.End) and "beyond the capacity of the CUDA graph" in steps[-1].notes[0]


def test_int8_with_outliers_decodes_uncaptured_and_says_so(captures: list[torch.device]) -> None:
    ids, end = written(loaded(INT8), KeptCache(), SHORT)
    assert (len(ids), end.mode, captures) == (SHORT.max_new_tokens, "eager", [])
    assert "outliers" in end.notes[0]


@cuda_only
def test_fp8_multiplies_as_exact_weights_do_and_is_captured() -> None:
    model = loaded(Fp8(), "bfloat16")
    layers = [module for module in model.model.modules() if isinstance(module, Fp8Linear)]
    computes = torch.cuda.get_device_capability(DEVICE) >= CAPABILITY
    assert layers and all(layer.computes == computes for layer in layers)
    for layer in layers if computes else ():
        for rows in (1, 40):
            x = torch.randn(1, rows, layer.in_features, dtype=torch.bfloat16, device=DEVICE)
            exact = layer._dequantized(x)
            assert float((layer(x) - exact).norm() / exact.norm()) < 0.05
    assert written(model, KeptCache(), SHORT)[1].mode == "graph"


@cuda_only
def test_what_waits_is_refused_before_it_is_captured() -> None:
    x = torch.ones(8, device=DEVICE)

    def waits() -> None:
        x.sum().item()

    with pytest.raises(RuntimeError, match="synchroniz"):
        cuda_graph.capture(waits, DEVICE)


@cuda_only
def test_a_failed_capture_leaves_stream_allocator_and_random_numbers() -> None:
    x, before = torch.ones(8, device=DEVICE), torch.cuda.current_stream(DEVICE)
    large = torch.empty(1 << 28, dtype=torch.uint8, device=DEVICE)

    def breaks() -> None:
        y = x * 2
        if torch.cuda.is_current_stream_capturing():
            float(y.sum())

    with pytest.raises(RuntimeError):
        cuda_graph.capture(breaks, DEVICE)
    assert torch.cuda.current_stream(DEVICE) == before
    reserved = torch.cuda.memory_reserved(DEVICE)
    del large
    gc.collect()
    torch.cuda.empty_cache()
    assert reserved - torch.cuda.memory_reserved(DEVICE) >= 1 << 28
    assert torch.randn(4, device=DEVICE).isfinite().all()
    z = torch.zeros(8, device=DEVICE)

    def adds() -> None:
        z.add_(x)

    replayed = cuda_graph.capture(adds, DEVICE)
    held = float(z[0])
    replayed()
    assert float(z[0]) == held + 1
