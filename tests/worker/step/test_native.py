"""The engine's own decode step, its packed layers and its cache, against what transformers computes."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from transformers import MistralConfig, MistralForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from engine.config.runtime import CPU_CAPACITY_STEP
from engine.worker import describe
from engine.worker.generate.prefix_cache import KeptCache, common_prefix
from engine.worker.host import bandwidth, memory
from engine.worker.step import kv_cache as growing
from engine.worker.step import native
from engine.worker.step.cpu import bf16_table, compile, onednn, repack
from engine.worker.step.cpu.bf16_table import OneDnnEmbedding
from engine.worker.step.kv_cache import growing_cache
from engine.worker.step.linear import FusedLinear
from tests.worker.llama_like import KINDS, SHAPE, logits_of, model_of, prompt

packs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bf16 matmul"
)


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a compiled step takes the native one's place, and nothing is packed for it."""
    monkeypatch.setattr(compile, "kernels", lambda: None)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_models_forward_pass(kind: str, batch: int) -> None:
    model = model_of(kind)
    assert native.supports(model)
    theirs = logits_of(model, batch, 30, is_native=False)
    ours = logits_of(model, batch, 30, is_native=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    assert theirs.std() > 0.01  # the bound above means something
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_logits_differ_by_rounding_only(kind: str) -> None:
    model, exact = model_of(kind, torch.bfloat16), model_of(kind)
    exact.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    reference = logits_of(exact, 1, 30, is_native=False)
    theirs = (logits_of(model, 1, 30, is_native=False).float() - reference).abs().mean()
    ours = (logits_of(model, 1, 30, is_native=True).float() - reference).abs().mean()
    assert 0 < ours < 1.1 * theirs


def test_other_architectures_are_left_to_their_forward_pass() -> None:
    opt = OPTConfig(vocab_size=512, hidden_size=64, ffn_dim=64, num_hidden_layers=1, num_attention_heads=2)
    windowed = MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=16))
    assert not native.supports(OPTForCausalLM(opt))
    assert not native.supports(windowed)


@packs_bf16
@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize("bias", [False, True])
def test_a_repacked_layer_computes_what_the_plain_one_does(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(96, 200, bias=bias, dtype=torch.bfloat16)
    x = torch.randn(1, rows, 96, dtype=torch.bfloat16)
    with torch.inference_mode():
        ours, theirs = onednn.OneDnnWeights([plain]).matmul(x), F.linear(x, plain.weight, plain.bias)
    assert ours.shape == (1, rows, 200)
    torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=1e-3)


@packs_bf16
@pytest.mark.parametrize("kind", ["qwen2", "llama, biases, untied"])
def test_repacking_keeps_weights_sizes_and_answers(kind: str) -> None:
    plain, packed = model_of(kind, torch.bfloat16), model_of(kind, torch.bfloat16)
    repack.repack(packed, lambda staged: None)
    assert not any(type(m) in {nn.Linear, nn.Embedding} for m in packed.modules()) or not is_tied(plain)
    assert isinstance(packed.get_output_embeddings(), FusedLinear)
    assert isinstance(packed.get_input_embeddings(), OneDnnEmbedding) is is_tied(plain)
    assert memory.weights(packed) == memory.weights(plain)
    assert bandwidth.weights_read_bytes(packed, 1) == bandwidth.weights_read_bytes(plain, 1)
    assert describe.logical_parameters(packed) == describe.logical_parameters(plain)
    ours, theirs = packed.state_dict(), plain.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    for is_native in (True, False):
        difference = logits_of(packed, 2, 5, is_native=is_native) - logits_of(
            plain, 2, 5, is_native=is_native
        )
        assert difference.abs().max() < 0.01


def is_tied(model: PreTrainedModel) -> bool:
    return bool(model.config.tie_word_embeddings)


@packs_bf16
@pytest.mark.parametrize("ids", [[[0]], [[63, 64, 511]], [[5, 5], [130, 7]]])
def test_rows_of_a_packed_table_are_the_plain_ones(ids: list[list[int]]) -> None:
    head = nn.Linear(96, 512, bias=False, dtype=torch.bfloat16)
    table = bf16_table.embedding(onednn.OneDnnWeights([head]), head.weight.detach())
    assert table is not None and (table.num_embeddings, table.embedding_dim) == (512, 96)
    wanted = torch.tensor(ids)
    assert torch.equal(table(wanted), F.embedding(wanted, head.weight))


@packs_bf16
def test_a_table_that_is_packed_otherwise_is_not_read() -> None:
    """Rows that do not fill oneDNN's blocks, and a layout that holds something else."""
    odd = nn.Linear(96, 500, bias=False, dtype=torch.bfloat16)
    assert bf16_table.embedding(onednn.OneDnnWeights([odd]), odd.weight.detach()) is None
    head = nn.Linear(96, 512, bias=False, dtype=torch.bfloat16)
    packed = onednn.OneDnnWeights([head])
    assert bf16_table.embedding(packed, head.weight.detach().flip(0)) is None


@packs_bf16
def test_fused_layers_keep_nothing_of_an_input() -> None:
    model = model_of("llama", torch.bfloat16)
    repack.repack(model, lambda staged: None)
    logits_of(model, 1, 2, is_native=False)
    wholes = {module.weights for module in model.modules() if isinstance(module, FusedLinear)}
    assert len(wholes) == 2 * 4 + 1 and all(whole._output is None for whole in wholes)


def test_float32_is_not_repacked() -> None:
    model = model_of("llama")
    repack.repack(model, lambda staged: None)
    assert not any(isinstance(module, FusedLinear) for module in model.modules())


@pytest.mark.parametrize("prompt_tokens", [1, 5, CPU_CAPACITY_STEP - 1, CPU_CAPACITY_STEP + 1])
def test_the_cache_holds_what_transformers_own_holds(prompt_tokens: int) -> None:
    ours, theirs = growing.GrowingLayer(), DynamicLayer()
    for new in (prompt_tokens, 1, 2, 1):
        keys, values = torch.randn(2, 3, new, 8), torch.randn(2, 3, new, 8)
        for mine, reference in zip(ours.update(keys, values), theirs.update(keys, values), strict=True):
            assert torch.equal(mine, reference)
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_a_cropped_cache_goes_on_from_there() -> None:
    layer = growing.GrowingLayer()
    keys = torch.randn(1, 2, 10, 8)
    layer.update(keys, keys)
    layer.crop(-4)
    new = torch.randn(1, 2, 1, 8)
    held, _ = layer.update(new, new)
    assert torch.equal(held, torch.cat((keys[:, :, :6], new), dim=2))


def test_the_cache_counts_the_room_it_has_allocated() -> None:
    model = model_of("llama")
    cache = growing_cache(model.config)
    with torch.inference_mode():
        model(prompt(1), past_key_values=cache)
    a_tensor = 2 * CPU_CAPACITY_STEP * 16 * 4  # kv heads, tokens, size, float32
    assert memory.cache_bytes(cache) == 2 * 2 * a_tensor


def test_a_common_prefix() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_prefix([1, 2], [1, 2, 3]) == 2
    assert common_prefix([], [1]) == 0


@pytest.mark.parametrize(
    ("asked", "reused"), [([1, 2, 3, 4, 9], 4), ([1, 2, 3, 4], 3), ([1, 2, 8, 9], 2), ([7, 8], 0), ([1], 0)]
)
def test_the_kept_cache_is_cropped_to_what_is_common(asked: list[int], reused: int) -> None:
    model, kept = model_of("llama"), KeptCache()
    cache = kept.take([1, 2, 3, 4, 5], model.config)
    with torch.inference_mode():
        model(torch.tensor([[1, 2, 3, 4]]), past_key_values=cache)
    kept.keep(cache, [1, 2, 3, 4, 5])  # the last token was never read
    assert kept.take(asked, model.config).get_seq_length() == reused
    assert kept.take(asked, model.config).get_seq_length() == 0  # it is away


def test_a_dropped_cache_is_gone() -> None:
    model, kept = model_of("llama"), KeptCache()
    cache = kept.take([1, 2, 3], model.config)
    with torch.inference_mode():
        model(torch.tensor([[1, 2]]), past_key_values=cache)
    kept.keep(cache, [1, 2])
    kept.drop()
    assert kept.take([1, 2, 3], model.config).get_seq_length() == 0
