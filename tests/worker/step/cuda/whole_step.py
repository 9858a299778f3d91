"""The whole step, interpreted, against the model's own forward pass: kinds of models, kinds of weights."""

from collections.abc import Callable
from typing import Any

import bitsandbytes
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from engine.worker.step import stepper
from engine.worker.step.cuda import choice, launch
from engine.worker.step.cuda.int4 import Int4Linear, packed
from engine.worker.step.cuda.kernels.matrix import Matrix
from engine.worker.step.cuda.triton_step import TritonStep
from engine.worker.step.kv_cache import growing_cache
from engine.worker.step.stepper import Stepper
from tests.thorough import thorough
from tests.worker.llama_like import KINDS, logits_of, model_of, prompt

STEPS = 2
GREEDY = ("qwen3", "phi3", "smollm3", "granite")
FEW = ("llama", "qwen3", "phi3")  # of each new part one; `make thorough` has all
SHAPE = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
}


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "ROWS", 512)  # the interpreter takes its time for each


@torch.inference_mode()
def stepped(model: PreTrainedModel, batch: int) -> Tensor:
    """What `logits_of` computes, by the step."""
    cache = growing_cache(model.config)
    model(prompt(batch) % model.config.vocab_size, past_key_values=cache)
    step = TritonStep.build(model)
    assert step is not None
    tokens = (prompt(batch, STEPS) % model.config.vocab_size).split(1, dim=1)
    return torch.cat([step(token, cache) for token in tokens], dim=1)


@torch.inference_mode()
def by_the_model(model: PreTrainedModel, batch: int) -> Tensor:
    cache = growing_cache(model.config)
    model(prompt(batch) % model.config.vocab_size, past_key_values=cache)
    tokens = (prompt(batch, STEPS) % model.config.vocab_size).split(1, dim=1)
    return torch.cat([model(token, past_key_values=cache).logits for token in tokens], dim=1)


def close(found: Tensor, right: Tensor) -> float:
    """The largest difference, over the largest logit."""
    return float((found - right).abs().max() / right.abs().max())


@pytest.mark.parametrize("kind", [*FEW, *thorough(set(KINDS) - set(FEW))])
def test_families_in_float32(kind: str) -> None:
    model, batch = model_of(kind), 3 if kind == "phi3" else 1
    right = logits_of(model, batch, STEPS, is_native=False)
    found = stepped(model, batch)
    assert close(found, right) < 1e-5 and torch.equal(found.argmax(-1), right.argmax(-1))
    if kind in GREEDY:
        assert_greedy(model)


def assert_greedy(model: PreTrainedModel) -> None:
    """The step writes the tokens that `generate` does."""
    right = model.generate(prompt(1), max_new_tokens=3, do_sample=False, eos_token_id=None)[0, 20:]
    found, token_ids = [], prompt(1)
    stepping = Stepper(model, growing_cache(model.config))
    stepping._compiled = TritonStep.build(model)
    for _ in range(3):
        stepping.read(token_ids)
        token_ids = stepping.logits.argmax(-1, keepdim=True)
        found.append(int(token_ids))
    assert found == right.tolist()


def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, attention_bias=True)).eval()


def test_a_long_cache_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "LEAST_SPAN", 16)
    model = llama()
    assert close(stepped(model, 1), by_the_model(model, 1)) < 1e-5


def nf4(layer: nn.Linear, *, nested: bool) -> nn.Module:
    made = bitsandbytes.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=torch.float32,
        compress_statistics=nested,
        quant_type="nf4",
    )
    made.weight = bitsandbytes.nn.Params4bit(
        layer.weight.detach(), requires_grad=False, quant_type="nf4", compress_statistics=nested
    )
    made.bias = layer.bias
    return made.to("cpu")


def int8(layer: nn.Linear) -> nn.Module:
    made = bitsandbytes.nn.Linear8bitLt(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        has_fp16_weights=False,
        threshold=0.0,
    )
    made.weight = bitsandbytes.nn.Int8Params(
        layer.weight.detach(), requires_grad=False, has_fp16_weights=False
    )
    made.bias = layer.bias
    return made.to("cpu")


def int4(layer: nn.Linear, *, with_order: bool) -> nn.Module:
    rows, columns, group = layer.out_features, layer.in_features, 32
    order = torch.randperm(columns).int() if with_order else None
    scales, zeros = torch.rand(rows, columns // group) / 200, torch.randn(rows, columns // group) / 200
    numbers = packed(torch.randint(0, 16, (rows, columns)))
    return Int4Linear(
        Matrix(numbers, rows, layer.bias, scales=scales, zeros=zeros, order=order), columns, group
    )


WEIGHTS: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "nf4": lambda layer: nf4(layer, nested=False),
    "nf4, double quantization": lambda layer: nf4(layer, nested=True),
    "int8": int8,
    "int4": lambda layer: int4(layer, with_order=False),
}


@torch.inference_mode()
def with_weights(model: PreTrainedModel, make: Callable[[nn.Linear], nn.Module]) -> PreTrainedModel:
    for layer in model.model.layers:
        for parent in (layer.self_attn, layer.mlp):
            made: dict[str, Any] = {
                name: make(each) for name, each in parent.named_children() if isinstance(each, nn.Linear)
            }
            for name, module in made.items():
                setattr(parent, name, module)
    model(prompt(1) % SHAPE["vocab_size"])
    return model


@pytest.mark.parametrize("name", WEIGHTS)
def test_kinds_of_weights(name: str) -> None:
    model = with_weights(llama(), WEIGHTS[name])
    found, right = stepped(model, 2), by_the_model(model, 2)
    assert close(found, right) < (1e-2 if name == "int8" else 1e-5)


@pytest.mark.parametrize(("name", "captured"), [(None, False), ("int4", True)])
def test_a_prepared_model_writes_the_greedy_tokens_of_generate(
    name: str | None, captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it decodes on a GPU: eagerly, and as the steps that a graph would hold."""
    model = with_weights(llama(), WEIGHTS[name]) if name else llama()
    right = model.generate(prompt(1), max_new_tokens=4, do_sample=False, eos_token_id=None)[0, 20:]
    assert choice.prepare(model, lambda staged: None), choice.failures.get(model)
    monkeypatch.setattr(stepper, "REPLAYING", ("cpu",) if captured else ())
    found, token_ids = [], prompt(1)
    stepping = Stepper(model, growing_cache(model.config))
    for _ in range(4):
        stepping.read(token_ids)
        token_ids = stepping.logits.argmax(-1, keepdim=True)
        found.append(int(token_ids))
    assert found == right.tolist() and stepping.mode == ("graph" if captured else "eager")


def test_a_kernel_that_gives_other_numbers_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model, right = llama(), launch.linear
    monkeypatch.setattr(launch, "linear", lambda x, *given, **options: right(x, *given, **options) * 1.1)
    assert not choice.prepare(model, lambda staged: None) and choice.step_for(model) is None
    assert "other numbers in layer 0, q_proj" in choice.failures[model]


def test_an_order_that_differs_between_layers_with_the_same_input_is_not_taken() -> None:
    model = with_weights(llama(), lambda layer: int4(layer, with_order=True))
    assert TritonStep.build(model) is None


def test_a_layer_that_is_not_known_is_not_taken() -> None:
    model = llama()
    model.model.layers[1].mlp.down_proj = nn.Sequential(model.model.layers[1].mlp.down_proj)
    assert TritonStep.build(model) is None
