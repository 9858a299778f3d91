"""Measured runs: what they read, write and stamp, in the engine's loop and in transformers'."""

import time
from functools import cache as once

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from engine.config import profiles
from engine.errors import InputError
from engine.machine.energy import Meter
from engine.protocol.failure import Failed
from engine.protocol.runs import BenchRun, Measure, MeasureCopy, Measured
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.host import bandwidth, memory, spare_cores
from engine.worker.load import LoadedModel, load
from engine.worker.measure import bench_run
from engine.worker.measure.hf_generate import Tokens
from engine.worker.step.stepper import Stepper

SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}
CACHED_TOKEN_BYTES = 2 * 2 * 64 * 2  # K and V, two layers, 64 wide, bf16
GENERATORS = sorted(bench_run.GENERATORS)


@once
def tiny(dtype: str = "bfloat16") -> LoadedModel:
    wanted = profiles.changed(profiles.of_model("random:tiny"), {"model.dtype": dtype})
    return load(wanted, 1, lambda staged: None)


def run(**settings: object) -> Measured:
    result = bench_run.measured(
        tiny(), Measure(request=1, run=BenchRun(**settings)), lambda: False, KeptCache()
    )
    assert isinstance(result, Measured)
    return result


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(("batch", "depth"), [(1, 0), (3, 0), (2, 40)])
def test_exactly_the_wanted_tokens_are_read_and_written(generator: str, batch: int, depth: int) -> None:
    found = run(context=20, steps=6, batch=batch, depth=depth, generator=generator)
    assert len(found.token_ns) == 6
    assert found.cached_tokens == depth + 20 + 6 - 1  # nobody reads the last token
    assert found.kv_cache_bytes >= found.cached_tokens * batch * CACHED_TOKEN_BYTES
    stamps = [found.started_ns, found.prefilled_ns, *found.token_ns]
    assert stamps == sorted(set(stamps))
    assert found.decode_joules is None  # no meter


@pytest.mark.parametrize("generator", GENERATORS)
def test_energy_is_counted_from_the_first_token_to_the_last(generator: str) -> None:
    read_ns: list[int] = []

    def read() -> tuple[float]:
        read_ns.append(time.monotonic_ns())
        return (7.0 * len(read_ns),)

    command = Measure(request=1, run=BenchRun(context=20, steps=6, generator=generator))
    found = bench_run.measured(tiny(), command, lambda: False, KeptCache(), Meter("RAPL", read, [0.0]))
    assert isinstance(found, Measured) and found.decode_joules == 7.0
    assert len(read_ns) == 2 and found.token_ns[0] < read_ns[0] and found.token_ns[-1] < read_ns[1]


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_run_gives_threads_back_to_others(generator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one step to the next, and says on how few it ran."""
    seconds = iter(range(1000)).__next__
    crowded = spare_cores.SpareCores(2, cores=2, clock_s=seconds, others_s=seconds)
    threads_before = torch.get_num_threads()
    monkeypatch.setattr(spare_cores.SpareCores, "for_model", lambda threads, device, given: crowded)
    try:
        assert run(context=8, steps=6, generator=generator).threads == 1
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads_before)


def test_a_schedules_threads_are_kept() -> None:
    command = Measure(request=1, run=BenchRun(context=8, steps=2), threads=2)
    threads_before = torch.get_num_threads()
    try:
        found = bench_run.measured(tiny(), command, lambda: False, KeptCache())
        assert (found.threads, torch.get_num_threads()) == (2, 2)
    finally:
        torch.set_num_threads(threads_before)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("depth", [0, 12])
def test_a_batch_says_what_its_sequences_say_alone(generator: str, depth: int) -> None:
    """The cache holds prompt and answer: in fp32 each row's is that of its prompt in plain `generate`."""
    loaded, steps = tiny("float32"), 8
    prompt = bench_run.made_up(loaded, 3, 30)
    cache = DynamicCache(config=loaded.model.config)
    if depth:
        Stepper(loaded.model, cache).read(prompt[:, :depth])
    before = cache.get_seq_length()
    bench_run.GENERATORS[generator](loaded, prompt, cache, steps, Tokens(lambda: False))
    assert before == depth
    for row in range(3):
        alone = loaded.model.generate(
            prompt[row : row + 1], do_sample=False, max_new_tokens=steps, pad_token_id=0, eos_token_id=600
        )
        reference = DynamicCache(config=loaded.model.config)
        with torch.inference_mode():
            loaded.model(alone[:, :-1], past_key_values=reference)
        ours, theirs = cache.layers[-1].keys[row], reference.layers[-1].keys[0]
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_an_end_token_ends_nothing() -> None:
    loaded = tiny()
    prompt = bench_run.made_up(loaded, 1, 10)
    said = loaded.model.generate(prompt, do_sample=False, max_new_tokens=4, pad_token_id=0, eos_token_id=600)
    loaded.model.generation_config.eos_token_id = int(said[0, 11])
    try:
        assert all(len(run(context=10, steps=6, generator=name).token_ns) == 6 for name in GENERATORS)
    finally:
        loaded.model.generation_config.eos_token_id = None


def test_prompts_are_ordinary_tokens_and_always_the_same() -> None:
    loaded = tiny()
    loaded.tokenizer.add_special_tokens({"pad_token": loaded.tokenizer.convert_ids_to_tokens(7)})
    prompts = bench_run.made_up(loaded, 4, 2000)
    assert torch.equal(prompts, bench_run.made_up(loaded, 4, 2000))
    assert not torch.equal(prompts[0], prompts[1])
    assert prompts.min() >= 0 and prompts.max() < 512
    assert 7 not in prompts and 8 in prompts


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_cancelled_run_is_no_result(generator: str) -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 3

    command = Measure(request=5, run=BenchRun(context=20, steps=1000, generator=generator))
    result = bench_run.measured(tiny(), command, cancelled, KeptCache())
    assert isinstance(result, Failed) and (result.kind, result.request) == ("cancelled", 5)
    assert len(asked) < 20


def test_a_run_beyond_the_window_is_refused() -> None:
    with pytest.raises(InputError, match="2049 tokens do not fit the model's context window of 2048"):
        run(context=2000, depth=10, steps=40)


def test_a_cache_may_be_filled_to_the_window() -> None:
    assert run(context=2047, steps=2).cached_tokens == 2048


def test_the_peak_is_reset_by_every_run_that_takes_it() -> None:
    large = run(context=1500, batch=8, steps=2, with_memory=True)
    small = run(context=16, steps=2, with_memory=True)
    grown = []
    for found in (large, small):
        assert found.memory and found.memory_at_reset
        assert found.memory_at_reset.peak_bytes <= found.memory_at_reset.process_bytes + (1 << 20)
        assert found.memory.kv_cache_bytes == found.kv_cache_bytes
        grown.append(found.memory.peak_bytes - found.memory_at_reset.process_bytes)
    assert grown[0] > grown[1] + 8 * (1 << 20), grown
    assert run(context=16, steps=2).memory is None


def test_a_step_reads_one_row_of_an_embedding_that_is_not_the_head() -> None:
    for tied in (False, True):
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied)).to(torch.bfloat16)
        weights = memory.weights(model)
        everything_else = weights.linear_bytes + weights.other_bytes
        read = weights.embedding_bytes if tied else 3 * 128 * 2
        assert bandwidth.weights_read_bytes(model, batch=3) == everything_else + read


def test_a_step_reads_the_cache_as_far_as_the_window_goes() -> None:
    model = MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=16)).to(torch.bfloat16).eval()
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(torch.arange(40)[None], past_key_values=cache)
    weights = bandwidth.weights_read_bytes(model, 1)
    assert bandwidth.step_bytes(model, cache, 1, 10) == weights + 10 * CACHED_TOKEN_BYTES
    assert bandwidth.step_bytes(model, cache, 1, 40) == weights + 16 * CACHED_TOKEN_BYTES


def test_no_share_where_the_tokens_choose_the_weights() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    model.config.num_local_experts = 8
    assert bandwidth.step_bytes(model, DynamicCache(), 1, 10) is None


def test_copying_is_measured_several_times() -> None:
    copied = bench_run.copied(tiny(), MeasureCopy(request=3))
    assert copied.request == 3 and copied.buffer_bytes >= 256 << 20
    assert len(copied.bytes_s) == bandwidth.COPIES and min(copied.bytes_s) > 0
