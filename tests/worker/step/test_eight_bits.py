"""Keys and values in 8 bits: how far from what was computed, and the same whichever way a text is read."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from engine.config.profile import Cache, Generation, Model, Profile
from engine.config.runtime import CPU_CAPACITY_STEP, CacheDtype
from engine.worker.generate import decode
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.load import LoadedModel, load
from engine.worker.measure import hf_generate
from engine.worker.step import captured_step, eight_bits, native
from engine.worker.step.captured_step import CapturedStep
from engine.worker.step.kv_cache import EightBitLayer, GrowingCache, growing_cache
from tests.worker.llama_like import model_of, prompt

EIGHT_BITS: tuple[CacheDtype, ...] = ("int8", "fp8")
ROUNDING = {torch.float32: 2.0**-8, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-8}
"""Of the scale, or of the product: the coarser of bf16 and the dtype, as a share of a number."""
LENGTH = CPU_CAPACITY_STEP + 20


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return model_of("llama")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_numbers_are_as_far_as_half_a_step_of_their_heads_scale(dtype: torch.dtype) -> None:
    exponents = torch.logspace(-3, 3, 7)[:, None]
    x = (torch.randn(2, 3, 7, 64, generator=torch.Generator().manual_seed(0)) * exponents).to(dtype)
    largest, unit = x.float().abs().amax(-1, keepdim=True), ROUNDING[dtype]
    for held, half_step in (
        ("int8", 0.5 / 127 * largest),
        ("fp8", torch.maximum(x.float().abs() * 2**-4, largest * (2.0**-10 / 448))),  # 3 bits; subnormal
    ):
        codes, scales = eight_bits.rounded(x, held)  # type: ignore[arg-type]
        assert (codes.element_size(), scales.element_size()) == (1, 2)
        again = eight_bits.restored(codes, scales, dtype)
        assert again.dtype == dtype
        bound = half_step * (1 + unit) + unit * x.float().abs()
        assert bool(((again.float() - x.float()).abs() <= bound * (1 + 1e-4)).all())


@pytest.mark.parametrize("held", EIGHT_BITS)
def test_zeros_stay_zeros_and_what_is_no_number_stays_none(held: CacheDtype) -> None:
    x = torch.zeros(1, 1, 3, 8)
    x[0, 0, 1, 2], x[0, 0, 2, 2] = torch.nan, torch.inf
    again = eight_bits.restored(*eight_bits.rounded(x, held), torch.float32)
    assert not again[0, 0, 0].any()
    assert not again[0, 0, 1].isfinite().all() and not again[0, 0, 2].isfinite().all()


def test_every_code_of_e4m3_is_the_number_that_torch_has_for_it() -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(1, 1, 4, 64)
    for dtype in (torch.float32, torch.bfloat16):
        ours = eight_bits.restored(codes, torch.ones(1, 1, 4, 1, dtype=torch.bfloat16), dtype)
        theirs = codes.view(torch.float8_e4m3fn).to(dtype)
        assert torch.equal(ours.nan_to_num(), theirs.nan_to_num())


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that any operation allocates."""

    found = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.found = max(self.found, result.nbytes if isinstance(result, Tensor) else 0)
        return result


def test_nothing_larger_than_its_numbers_is_allocated_to_restore_a_cache() -> None:
    tokens = 2 * eight_bits.MOST_LOOKED_UP // 128
    codes = torch.randint(0, 120, (1, 4, tokens, 64), dtype=torch.uint8)[:, :, :-3]
    scales = torch.ones(1, 4, tokens - 3, 1, dtype=torch.bfloat16)
    with Largest() as largest:
        ours = eight_bits.restored(codes, scales, torch.bfloat16)
    assert torch.equal(ours, codes.view(torch.float8_e4m3fn).to(torch.bfloat16))
    assert largest.found == ours.nbytes


@torch.inference_mode()
def read(model: PreTrainedModel, cache: GrowingCache, tokens: Tensor, chunk: int) -> Tensor:
    """Logits of all tokens, read in chunks."""
    parts = tokens.split(chunk, dim=1)
    return torch.cat([model(part, past_key_values=cache).logits for part in parts], dim=1)


@pytest.mark.parametrize("held", ["auto", *EIGHT_BITS])
@torch.inference_mode()
def test_one_pass_chunks_and_steps_of_every_kind_say_the_same(
    held: CacheDtype, model: PreTrainedModel
) -> None:
    tokens = prompt(2, LENGTH)
    caches = [growing_cache(model.config, dtype=held) for _ in range(4)]
    whole = read(model, caches[0], tokens, LENGTH)
    found = [read(model, caches[1], tokens, 7)]
    step = native.NativeStep(model)
    for cache, one in ((caches[2], step), (caches[3], None)):
        logits = [read(model, cache, tokens[:, :20], 20)]
        captured = one or CapturedStep(captured_step.step_of(model, held), cache, tokens[:, :1])
        for token in tokens[:, 20:].split(1, dim=1):
            if isinstance(captured, CapturedStep):
                if not captured.is_valid():
                    captured.sync_length()
                    captured = CapturedStep(captured_step.step_of(model, held), cache, tokens[:, :1])
                logits.append(captured(token).clone())
            else:
                logits.append(captured(token, cache))
        found.append(torch.cat(logits, dim=1))
    captured_step.step_of.cache_clear()
    away = (whole - read(model, growing_cache(model.config), tokens, LENGTH)).abs()
    assert {"auto": away.max() == 0, "int8": 1e-4 < away.max() < 0.02, "fp8": 1e-3 < away.max() < 0.08}[held]
    for each in found:  # a number halfway between two codes may become either, by float32's last bit
        apart = (each - whole).abs()
        assert apart.max() < 2e-6 or apart.mean() < 0.1 * away.mean()


@pytest.mark.parametrize("held", EIGHT_BITS)
@torch.inference_mode()
def test_a_cache_that_is_cropped_copied_or_reset_goes_on_as_one_that_never_read_more(
    held: CacheDtype, model: PreTrainedModel
) -> None:
    tokens, cache = prompt(1, LENGTH), growing_cache(model.config, dtype=held)
    read(model, cache, tokens, LENGTH)
    cache.crop(-30)
    copied = cache.copied_to(growing_cache(model.config, dtype=held))
    cold = growing_cache(model.config, dtype=held)
    read(model, cold, tokens[:, :-30], LENGTH)
    for one in (cache, copied):
        for layer, theirs in zip(one.layers, cold.layers, strict=True):
            assert isinstance(layer, EightBitLayer) and isinstance(theirs, EightBitLayer)
            torch.testing.assert_close(layer.keys, theirs.keys, rtol=0, atol=1)  # of codes
            assert layer.scales.keys.shape == (*layer.keys.shape[:-1], 1)
        torch.testing.assert_close(
            read(model, one, tokens[:, -30:], 30),
            read(model, copy.deepcopy(cold), tokens[:, -30:], 30),
            rtol=0,
            atol=2e-4,
        )
    cache.reset()
    assert cache.get_seq_length() == 0
    torch.testing.assert_close(
        read(model, cache, tokens, LENGTH),
        read(model, growing_cache(model.config, dtype=held), tokens, LENGTH),
    )


@pytest.fixture(scope="module", params=EIGHT_BITS)
def tiny(request: pytest.FixtureRequest) -> LoadedModel:
    model = Model(source="random:tiny", dtype="float32")
    return load(Profile(model=model, cache=Cache(dtype=request.param)), 1, lambda staged: None)


def answered(loaded: LoadedModel, ids: list[int], kept: KeptCache, **settings: Any) -> list[int]:
    cache = kept.take(ids, loaded.model.config)
    steps = decode.generate(loaded, ids, Generation(**settings), lambda: False, cache)
    new = [step.id for step in steps if isinstance(step, decode.Token)]
    kept.keep(cache, [*ids, *new])
    return new


def test_answers_are_those_of_transformers_generate_over_the_same_cache(tiny: LoadedModel) -> None:
    ids, kept = list(range(70, 90)), KeptCache(tiny.cache_dtype)
    new = answered(tiny, ids, kept, max_new_tokens=12)
    cache = growing_cache(tiny.model.config, dtype=tiny.cache_dtype)
    hf_generate.generate(tiny, torch.tensor([ids]), cache, 12, hf_generate.Tokens(lambda: False))
    theirs = tiny.model.generate(
        torch.tensor([ids]),
        past_key_values=growing_cache(tiny.model.config, dtype=tiny.cache_dtype),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=-1,
        pad_token_id=0,
    )[0, len(ids) :].tolist()
    assert new == theirs[: len(new)]
    assert cache.get_seq_length() == len(ids) + 11


def test_a_prefix_is_used_again_and_a_stopped_reading_goes_on(tiny: LoadedModel) -> None:
    ids, kept, parts, asked = list(range(70, 110)), KeptCache(tiny.cache_dtype), [], iter(range(1000))
    new = answered(tiny, ids, kept, max_new_tokens=5)
    longer = [*ids, *new, *range(60, 100)]
    cache = kept.take(longer, tiny.model.config)
    assert cache.get_seq_length() == len(ids) + len(new) - 1
    assert isinstance(cache.layers[0], EightBitLayer)
    for step in decode.generate(
        tiny, longer, Generation(max_new_tokens=5), lambda: bool(parts) and next(asked) >= 9, cache
    ):
        parts.append(step)
    assert parts[-1] == decode.End("cancelled", "")
    kept.keep(cache, longer)
    cold = KeptCache(tiny.cache_dtype)
    assert answered(tiny, longer, kept, max_new_tokens=5) == answered(tiny, longer, cold, max_new_tokens=5)
