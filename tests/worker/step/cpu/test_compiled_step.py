"""The compiled decode step: its matmuls and its logits, for every kind of weights, against references."""

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache as once
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from engine.config.methods import BitsAndBytes, Method, Rtn
from engine.config.profile import Model, Profile
from engine.worker import step as steps
from engine.worker.load import LoadedModel, load
from engine.worker.step.cpu import bnb_int4, compile, compiled_step, model_table, repack
from engine.worker.step.cpu.int4 import FEW_ROWS, Int4Layers, Int4Weights
from engine.worker.step.kv_cache import growing_cache
from engine.worker.step.linear import FusedLinear
from engine.worker.step.stepper import Stepper
from tests.worker.llama_like import KINDS, logits_of, model_of, prompt

pytestmark = pytest.mark.skipif(compile.openmp() is None, reason="no compiler, or not GNU's OpenMP")


@pytest.fixture
def vectors() -> None:
    """Skips where the processor has not the instructions for quantized weights."""
    if not compile.has_vectors():
        pytest.skip("this CPU has no AVX512_BF16")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def int4_layers(rows: int, columns: int, group: int, *, zeros: bool, bias: bool = False) -> Int4Layers:
    """Random ones, with integers as code book."""
    generator = torch.Generator().manual_seed(1)
    groups = columns // group
    return Int4Layers(
        int4=torch.randint(0, 16, (rows, columns), generator=generator, dtype=torch.uint8),
        scales=(torch.rand(rows, groups, generator=generator) + 0.1).bfloat16(),
        zeros=random(rows, groups, seed=2) if zeros else None,
        code_book=tuple(float(code) for code in range(-8, 8)),
        bias=random(rows, seed=3) if bias else None,
    )


def exact(given: Int4Layers) -> Tensor:
    """The weights that they stand for, float64 [rows, columns]."""
    group = given.int4.shape[1] // given.scales.shape[1]
    spread = [
        values.double().repeat_interleave(group, 1)
        for values in (given.scales, given.zeros)
        if values is not None
    ]
    weights = torch.tensor(given.code_book, dtype=torch.float64)[given.int4.long()] * spread[0]
    return weights + spread[1] if given.zeros is not None else weights


@once
def multiplier() -> Callable[..., None]:
    """The product of one matrix, compiled, and kept where the engine keeps its own."""
    compile.kernels()
    from numba import njit

    from engine.worker.step.cpu.kernels import matmul

    @njit(cache=True)
    def run(matrix: Any, x: Any, x_addr: Any, scratch: Any, out: Any) -> None:
        matmul.lay_out(x, np.uint64(x_addr))
        for thread in range(2):
            matmul.matmul(matrix[0], np.uint64(x_addr), np.uint64(scratch), out, 2, thread, 2)

    return run


def product(layer: nn.Module, x: Tensor) -> Tensor:
    """x [batch, columns] through compiled code, divided between two threads."""
    from engine.worker.step.cpu.kernels import matmul

    rows, batch = layer.out_features, len(x)
    matrix, out = np.zeros(1, matmul.MATRIX), np.full((batch, rows + 3), np.nan, np.float32)
    held = model_table.describe(layer, matrix[0], 0, rows)
    inputs, scratch = (np.empty((batch, 2 * x.shape[1]), np.float32) for _ in range(2))

    multiplier()(matrix, x.float().numpy(), inputs.ctypes.data, scratch.ctypes.data, out)
    assert held and np.isnan(out[:, [0, 1, -1]]).all()  # nothing else is written
    return torch.from_numpy(out[:, 2:-1].copy())


def assert_rounded(found: Tensor, exact: Tensor) -> None:
    """Within float32's sums and one rounding to bf16."""
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-4 * float(exact.abs().max()))


@pytest.mark.parametrize("batch", [1, 3, 4, 6])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(48, 96), (37, 64)])
def test_matmul_with_plain_weights(rows: int, columns: int, bias: bool, batch: int) -> None:
    layer = nn.Linear(columns, rows, bias=bias, dtype=torch.bfloat16)
    x = random(batch, columns)
    wanted = x.double() @ layer.weight.detach().double().t()
    assert_rounded(product(layer, x), wanted if layer.bias is None else wanted + layer.bias.detach().double())


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("batch", [1, 3, 4, 6])
@pytest.mark.parametrize("group", [16, 32, 128])
@pytest.mark.parametrize("zeros", [False, True])
def test_matmul_with_4_bit_weights(zeros: bool, group: int, batch: int) -> None:
    given = int4_layers(80, 128, group, zeros=zeros, bias=True)
    fused, x = Int4Weights((48, 32), given), random(batch, 128)
    assert given.bias is not None
    wanted = x.double() @ exact(given).t() + given.bias.double()
    parts = [FusedLinear(fused, 0, 128, 48), FusedLinear(fused, 48, 128, 32)]
    ours = torch.cat([product(part, x) for part in parts], dim=1)
    assert_rounded(ours, wanted)
    assert torch.equal(fused.matmul(x[None])[0].float(), ours)  # few rows are multiplied as in a step
    dequantized = fused.matmul(x.repeat(FEW_ROWS + 1, 1))[:batch]  # weights, too, are rounded to bf16
    torch.testing.assert_close(
        dequantized.double(), wanted, rtol=2**-6, atol=2**-7 * float(wanted.abs().max())
    )


@pytest.mark.usefixtures("vectors")
def test_dequantized_weights_are_the_nearest_bf16() -> None:
    given = int4_layers(48, 96, 32, zeros=True)
    dequantized = Int4Weights((48,), given)._dequantized()
    assert torch.equal(dequantized.t(), exact(given).float().bfloat16())
    assert sum(tensor.nbytes for tensor in Int4Weights((48,), given).tensors) == 48 * 96 // 2 + 2 * 2 * 48 * 3


def int8_layer(name: str, weights: Tensor, **state: Any) -> Any:
    """What a quantizer's layer shows of itself."""
    kind = type(name, (nn.Module,), {})
    layer = kind()
    layer.out_features, layer.in_features = weights.shape
    layer.bias, layer.adapter = None, None
    for key, value in state.items():
        setattr(layer, key, value)
    assert model_table.supports(layer)
    return layer


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("batch", [1, 4])
def test_matmul_with_8_bit_weights(batch: int) -> None:
    weights = torch.randint(-128, 128, (50, 96), dtype=torch.int8, generator=torch.Generator().manual_seed(4))
    scales, x = random(50).abs() / 100, random(batch, 96, seed=5)
    held = SimpleNamespace(int8_weight_nk=weights, int8_channel_scale=scales)
    layer = int8_layer("TorchInt8Linear", weights, int8_module=held)
    assert_rounded(product(layer, x), x.double() @ (weights.double() * scales.double()[:, None]).t())


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("threshold", [0.0, 1.5, 6.0])
def test_matmul_of_llm_int8_are_bitsandbytes_own(threshold: float) -> None:
    from bitsandbytes import MatmulLtState, matmul

    weights = torch.randint(-127, 128, (50, 96), dtype=torch.int8, generator=torch.Generator().manual_seed(4))
    scales, x = random(50).float().abs(), random(1, 96, seed=5)
    state = MatmulLtState()
    state.CB, state.SCB, state.threshold = weights, scales, threshold
    state.has_fp16_weights = state.is_training = False
    layer = int8_layer("Linear8bitLt", weights, state=state)
    with torch.inference_mode():
        theirs = matmul(x, weights, state=state)
    assert (x.abs() >= threshold).any() == (threshold < 6)
    ours = product(layer, x)
    if threshold in {0.0, 6.0}:
        assert torch.equal(ours, theirs.float())  # whole numbers add up alike in any order
    torch.testing.assert_close(ours, theirs.float(), rtol=0, atol=2**-7 * float(theirs.abs().max()))
    alone = [product(layer, row[None]) for row in random(5, 96, seed=6)]
    assert torch.equal(product(layer, random(5, 96, seed=6)), torch.cat(alone))  # each by its own largest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_logits_differ_by_rounding_only(kind: str, batch: int) -> None:
    model, reference = model_of(kind, torch.bfloat16), model_of(kind)
    reference.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    assert compiled_step.supports(model) and not compiled_step.supports(reference)
    wanted = logits_of(reference, batch, 70, is_native=False)
    theirs = logits_of(model, batch, 70, is_native=False).float()
    ours = compiled_logits(model, batch, 70)  # more than the first capacity
    assert ours.shape == theirs.shape
    assert 0 < (ours - wanted).abs().mean() < 1.1 * (theirs - wanted).abs().mean()


@torch.inference_mode()
def compiled_logits(model: PreTrainedModel, batch: int, steps: int) -> Tensor:
    """Of given tokens after a prompt, as `logits_of` has it."""
    cache, step = growing_cache(model.config), compiled_step.step_for(model)
    assert step is not None
    model(prompt(batch), past_key_values=cache)
    found = torch.cat([step(token, cache) for token in prompt(batch, steps).split(1, dim=1)], dim=1)
    assert cache.get_seq_length() == 20 + steps
    return found


def loaded(method: Method, *, native_step: bool = True) -> LoadedModel:
    wanted = Profile(model=Model(source="random:tiny"), quantization=method)
    return load(wanted, 1, lambda staged: None, native_step=native_step)


@pytest.fixture
def made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lend_compiled: Callable[[Path], None]
) -> Callable[..., LoadedModel]:
    """Loads a method that makes a checkpoint first, into a store of the test's own."""
    lend_compiled(tmp_path)
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))
    return loaded


BITSANDBYTES = [
    BitsAndBytes(quant_type="nf4"),
    BitsAndBytes(quant_type="fp4", double_quant=True),
    BitsAndBytes(bits=8),
    BitsAndBytes(bits=8, threshold=1.0),
]


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("method", BITSANDBYTES, ids=["nf4", "fp4, double", "int8", "int8, outliers"])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_model_of_bitsandbytes_says_the_same(method: Method, batch: int) -> None:
    assert_alike(loaded(method), loaded(method, native_step=False), batch)


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize(
    ("bits", "kernel"), [(2, "Int4Linear"), (3, "Int4Linear"), (4, "Int4Linear"), (8, "TorchInt8Linear")]
)
def test_a_model_of_gptqmodel_says_the_same(made: Callable[..., LoadedModel], bits: int, kernel: str) -> None:
    pytest.importorskip("gptqmodel")
    method = Rtn(bits=bits, group_size=64, sym=False)  # type: ignore[arg-type]
    ours = made(method)
    assert ours.info.kernel == kernel
    theirs = made(method, native_step=False)
    assert_alike(ours, theirs, 1, bits_more={2: 0.7, 3: 4 / 3}.get(bits, 1))  # 2 are 8 there


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("factor", [1.1, math.nan])
def test_a_matrix_that_differs_is_kept_and_those_before_it_still_multiply_four_bits(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack, numbers = bnb_int4.unpack, itertools.count(1)

    def unpacked(layers: Any) -> Any:
        found, is_last = unpack(layers), next(numbers) == 2 * 4
        return replace(found, scales=found.scales * factor) if found and is_last else found

    monkeypatch.setattr(repack, "_UNPACKERS", (unpacked,))
    ours = loaded(BitsAndBytes())
    assert ours.info.step == "native" and type(ours.model.model.layers[1].mlp.down_proj) is not FusedLinear
    wanted = logits_of(loaded(BitsAndBytes(), native_step=False).model, 1, 4, is_native=False)
    monkeypatch.setattr(Int4Weights, "_dequantized", None)
    found = logits_of(ours.model, 1, 4, is_native=True)
    assert float((found - wanted).abs().max()) < 0.1 * float(wanted.std())


def assert_alike(ours: LoadedModel, theirs: LoadedModel, batch: int, bits_more: float = 1) -> None:
    """Both decode to the same logits, but for rounding, and hold as much."""
    assert ours.info.step == "compiled"
    assert ours.info.parameters == theirs.info.parameters
    assert ours.info.weights.linear_bytes <= bits_more * theirs.info.weights.linear_bytes
    wanted, found = logits_of(theirs.model, batch, 8, is_native=False), compiled_logits(ours.model, batch, 8)
    assert float((found - wanted).abs().max()) < 0.1 * float(wanted.std())
    prompts = [logits_of(side.model, batch, 1, is_native=False) for side in (ours, theirs)]
    assert float((prompts[0] - prompts[1]).abs().max()) < 0.1 * float(wanted.std())


@pytest.mark.usefixtures("vectors")
def test_packed_4_bit_weights_cannot_be_saved() -> None:
    with pytest.raises(TypeError, match="cannot be saved"):
        loaded(BitsAndBytes()).model.state_dict()


def test_float32_models_keep_bitsandbytes_own_layers() -> None:
    wanted = Profile(model=Model(source="random:tiny", dtype="float32"), quantization=BitsAndBytes())
    found = load(wanted, 1, lambda staged: None)
    assert (found.info.step, found.info.kernel) == ("native", "Linear4bit")


def test_what_cannot_be_compiled_decodes_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError("No space left on device")

    compile.kernels.cache_clear()
    monkeypatch.setattr(compile, "_cache", full)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    try:
        model = model_of("llama", torch.bfloat16)
        assert (
            compiled_step.supports(model)
            and compiled_step.step_for(model) is None
            and not compile.has_vectors()
        )
        cache = growing_cache(model.config)
        stepper = Stepper(model, cache)
        stepper.read(prompt(1))
        stepper.read(prompt(1, 1))
        assert cache.get_seq_length() == 21 and steps.kind(model) == "native"
    finally:
        compile.kernels.cache_clear()


def test_any_number_of_threads_computes_the_same() -> None:
    model = model_of("mistral", torch.bfloat16)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        cache = growing_cache(model.config)
        with torch.inference_mode():
            model(prompt(2), past_key_values=cache)
            found.append(compiled_step.CompiledStep(model)(prompt(2, 1), cache))
    torch.set_num_threads(1)
    assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])


def test_what_is_decoded_does_not_depend_on_a_parameters_present_memory() -> None:
    model = model_of("llama", torch.bfloat16)
    wanted = compiled_logits(model, 1, 3)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()  # as a loader does that lets a mapped file go
    assert torch.equal(compiled_logits(model, 1, 3), wanted)


OLDER_CPU = """
from tests.worker.step.cpu.test_compiled_step import compile, compiled_logits, logits_of, model_of, torch
torch.set_num_threads(1)
model = model_of("llama", torch.bfloat16)
difference = compiled_logits(model, 4, 8) - logits_of(model, 4, 8, is_native=False).float()
print(compile.has_vectors(), bool(0 < difference.abs().max() < 0.01))
"""


@pytest.mark.thorough
def test_processors_without_bf16_products_decode_plain_weights_as_well() -> None:
    told = os.environ | {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
    done = subprocess.run(
        [sys.executable, "-c", OLDER_CPU], env=told, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["False", "True"], done.stderr
