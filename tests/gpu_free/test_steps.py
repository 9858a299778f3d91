"""The engine's whole path on a GPU that is not there: nothing on two devices, no wait and no copy in a step.

The launches of a captured step are held in launches.json: who changes them changes that file too, on purpose
(`python -m tests.gpu_free.test_steps` writes it).
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes import nn as bnb
from bitsandbytes.functional import QuantState
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, unset_fake_temporarily
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from engine.config.profile import Generation
from engine.config.runtime import CacheDtype
from engine.config.sources import SHAPES
from engine.worker.generate import decode
from engine.worker.measure import score
from engine.worker.step import captured_step, cuda_graph, kv_cache
from engine.worker.step.stepper import Stepper
from tests.gpu_free.fake_cuda import GPU, Launches, fake_cuda

TABLE = Path(__file__).with_name("launches.json")
MODELS = ("tiny", "llama-3.1-8b", "qwen2.5-7b", "mistral-7b", "opt-125m")
METHODS = ("bf16", "nf4", "int8")
SETTINGS = (
    Generation(),
    Generation(temperature=0.7, top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.1),
    Generation(repetition_penalty=1.3),
)
PROMPT_TOKENS = 7


@pytest.fixture(autouse=True)
def gpu() -> Iterator[None]:
    with fake_cuda(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_graph, "capture", _run_once)
        patch.setattr(captured_step, "_require_equal", lambda found, expected: None)
        yield
    captured_step.step_of.cache_clear()


def _run_once(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    run()
    return run


@torch.inference_mode(mode=False)
@torch.no_grad()
def made(name: str, method: str = "bf16", layers: int = 1) -> PreTrainedModel:
    """A model of that shape on the GPU, its weights without numbers."""
    config = AutoConfig.from_pretrained(SHAPES / f"{name}.json")
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    for module in model.modules():
        _place(module._parameters)
        _place(module._buffers)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.get_input_embeddings().weight
    _quantize(model, method)
    return model.eval()


def _place(held: dict[str, Any]) -> None:
    for name, tensor in held.items():
        if tensor is not None:
            there = torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU)
            is_weight = isinstance(tensor, nn.Parameter)
            held[name] = nn.Parameter(there, requires_grad=False) if is_weight else there


def _quantize(model: PreTrainedModel, method: str) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child is not model.get_output_embeddings() and method != "bf16":
                setattr(parent, name, QUANTIZED[method](child))


def _nf4(linear: nn.Linear) -> nn.Module:
    rows, columns = linear.weight.shape
    with unset_fake_temporarily():
        quantized = bnb.Linear4bit(columns, rows, bias=False, compute_dtype=torch.bfloat16, device="meta")
    packed = torch.empty((rows * columns // 2, 1), dtype=torch.uint8, device=GPU)
    quantized.weight = nn.Parameter(packed, requires_grad=False)
    quantized.weight.quant_state = QuantState(
        absmax=torch.empty(rows * columns // 64, device=GPU),
        shape=linear.weight.shape,
        code=torch.empty(16, device=GPU),
        blocksize=64,
        quant_type="nf4",
        dtype=torch.bfloat16,
    )
    quantized.bias = linear.bias
    return quantized


def _int8(linear: nn.Linear) -> nn.Module:
    rows, columns = linear.weight.shape
    with unset_fake_temporarily():
        quantized = bnb.Linear8bitLt(columns, rows, bias=False, has_fp16_weights=False, device="meta")
    quantized.state.CB = torch.empty((rows, columns), dtype=torch.int8, device=GPU)
    quantized.state.SCB = torch.empty(rows, device=GPU)
    quantized.weight = nn.Parameter(quantized.state.CB, requires_grad=False)
    quantized.weight.CB = None  # it has gone to the state, as after a first pass
    quantized.bias = linear.bias
    return quantized


QUANTIZED = {"nf4": _nf4, "int8": _int8}


def stepper(model: PreTrainedModel, batch: int = 1, dtype: CacheDtype = "auto") -> Stepper:
    """With a captured step, and a prompt that was read."""
    cache = kv_cache.growing_cache(model.config, 64, dtype)
    steps = Stepper(model, cache)
    assert steps.prepare(torch.zeros((batch, 1), dtype=torch.long, device=GPU))
    steps.read(torch.zeros((batch, PROMPT_TOKENS), dtype=torch.long, device=GPU))
    assert steps.mode == "graph", steps._eager_reason
    return steps


def counted(name: str, method: str, batch: int = 1) -> dict[str, int]:
    """What one layer launches, and what is launched besides the layers."""
    found = []
    for layers in (1, 2):
        steps = stepper(made(name, method, layers), batch)
        with Launches() as launches:
            steps._cache.captured_step.run()  # type: ignore[attr-defined]
        assert launches.crossings == []
        found.append(len(launches.names))
        captured_step.step_of.cache_clear()
    one, two = found
    return {"a layer": two - one, "besides": 2 * one - two}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_a_captured_step_launches_what_the_table_says(name: str, method: str) -> None:
    assert counted(name, method) == json.loads(TABLE.read_text())[name][method]


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
@torch.inference_mode()
def test_a_cache_in_8_bits_is_written_and_read_on_the_gpu(dtype: CacheDtype) -> None:
    steps = stepper(made("tiny"), dtype=dtype)
    with Launches() as launches:
        steps._cache.captured_step.run()  # type: ignore[attr-defined]
    assert launches.crossings == []


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_prompt_steps_and_choices_stay_on_the_gpu(name: str, settings: Generation) -> None:
    steps = stepper(made(name))
    prompt = torch.zeros((1, PROMPT_TOKENS), dtype=torch.long, device=GPU)
    choose = decode._Chooser(settings, prompt, steps.logits)
    with Launches() as launches:
        for _ in range(3):
            choice = choose(steps.logits)
            assert choice.device == GPU
            assert steps.runs_ahead
            steps.read(choice)
    assert launches.crossings == []
    steps.sync_length()
    assert steps._cache.get_seq_length() == PROMPT_TOKENS + 3


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_a_batch_takes_the_same_launches(name: str) -> None:
    assert counted(name, "bf16", batch=3) == counted(name, "bf16")


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_scores_are_computed_where_the_logits_are(name: str) -> None:
    model, cache = made(name), kv_cache.growing_cache(made(name).config)
    with Launches() as launches:
        ids = torch.zeros((1, PROMPT_TOKENS), dtype=torch.long, device=GPU)
        logits = model(ids, past_key_values=cache, use_cache=True).logits[0]
        log_p = score.log_softmax(logits)
        score.divergence(log_p, log_p)
        score.rounding_step(logits.topk(3, dim=-1).values[:, 0])
    assert launches.crossings == []


@torch.inference_mode()
def test_the_harness_notices_waits_and_copies() -> None:
    here: Tensor = torch.ones(3, device=GPU)
    with pytest.raises(DataDependentOutputException):
        bool(here.sum() > 1)
    with Launches() as launches:
        here.to("cpu")
    assert len(launches.crossings) == 1
    with pytest.raises(Exception, match="device"):
        here + torch.ones(3)


def write_table() -> None:
    """Count again, and keep it."""
    with fake_cuda(), torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_graph, "capture", _run_once)
        patch.setattr(captured_step, "_require_equal", lambda found, expected: None)
        table = {name: {method: counted(name, method) for method in METHODS} for name in MODELS}
    TABLE.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    write_table()
