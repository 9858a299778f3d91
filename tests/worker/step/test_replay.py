"""Steps over a cache's buffers, as a CUDA graph replays them; on a CPU they run kernel after kernel."""

from collections.abc import Iterator

import pytest
import torch
from msgspec.structs import replace as replace_struct
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Olmo2Config, Olmo2ForCausalLM, PreTrainedModel

from engine.config import runtime
from engine.config.profile import Generation, Model, Profile
from engine.config.runtime import CPU_CAPACITY_STEP
from engine.protocol.runs import BenchRun, Measure, Measured
from engine.worker.generate import decode, sampling
from engine.worker.generate.decode import End, Token
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.load import LoadedModel, load
from engine.worker.measure import bench_run
from engine.worker.step import captured_step, kv_cache, native, stepper
from engine.worker.step.captured_step import CapturedStep
from engine.worker.step.kv_cache import GrowingCache
from engine.worker.step.stepper import Stepper

SHAPE = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}
LONG = Generation(max_new_tokens=100)
PROMPT = list(range(70, 110))


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load(Profile(model=Model(source="random:tiny", dtype="float32")), 1, lambda staged: None)


@pytest.fixture
def replaying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepper, "REPLAYING", ("cpu", "cuda"))


@pytest.fixture(autouse=True)
def forget_steps() -> Iterator[None]:
    yield
    captured_step.step_of.cache_clear()
    captured_step.failures.clear()


def models() -> list[PreTrainedModel]:
    torch.manual_seed(0)
    found = [LlamaForCausalLM(LlamaConfig(**SHAPE)).eval(), Olmo2ForCausalLM(Olmo2Config(**SHAPE)).eval()]
    assert [native.supports(model) for model in found] == [True, False]  # both kinds of step
    return found


def written(
    loaded: LoadedModel, ids: list[int], settings: Generation, kept: KeptCache | None = None
) -> tuple[list[int], End]:
    kept = kept or KeptCache()
    cache = kept.take(ids, loaded.model.config, settings.max_new_tokens)
    decode.prepare(loaded, cache)
    steps = list(decode.generate(loaded, ids, settings, lambda: False, cache))
    new, end = [step.id for step in steps if isinstance(step, Token)], steps[-1]
    kept.keep(cache, [*ids, *new])
    assert isinstance(end, End)
    return new, end


@pytest.mark.parametrize("batch", [1, 3])
@torch.inference_mode()
def test_logits_are_those_of_the_models_forward_pass(batch: int) -> None:
    tokens = torch.randint(256, (batch, 50), generator=torch.Generator().manual_seed(1))
    for model in models():
        cache = kv_cache.growing_cache(model.config)
        model(tokens[:, :20], past_key_values=cache)
        step = CapturedStep(captured_step.step_of(model), cache, tokens[:, :1])
        ours = torch.cat([step(token).clone() for token in tokens[:, 20:].split(1, dim=1)], dim=1)
        theirs: Tensor = model(tokens).logits[:, 20:]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
        assert cache.get_seq_length() == 20
        step.sync_length()
        assert cache.get_seq_length() == 50


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_answers_are_the_eager_ones_across_several_capacities(
    tiny: LoadedModel, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace_struct(LONG, temperature=temperature, seed=3, repetition_penalty=1.1)
    eager, end = written(tiny, PROMPT, settings)
    assert (len(eager), end.mode) == (100, "eager")
    assert len(PROMPT) + len(eager) > 2 * CPU_CAPACITY_STEP
    monkeypatch.setattr(stepper, "REPLAYING", ("cpu",))
    replayed, end = written(tiny, PROMPT, settings)
    assert replayed == eager
    assert (end.mode, end.notes) == ("graph", ())


@pytest.mark.usefixtures("replaying")
def test_a_conversation_goes_on_with_the_buffers_and_the_step_it_has(tiny: LoadedModel) -> None:
    settings, kept, ids, made = Generation(max_new_tokens=5), KeptCache(), list(PROMPT), set[int]()
    for _ in range(3):
        new, _ = written(tiny, ids, settings, kept)
        assert new == written(tiny, ids, settings)[0]
        assert kept._caches
        made.add(id(kept._caches[0].captured_step))
        ids = [*ids, *new, 5]
    assert len(made) == 1
    new, _ = written(tiny, list(range(30, 60)), settings, kept)  # another conversation, the same buffers
    assert new == written(tiny, list(range(30, 60)), settings)[0]
    assert {id(kept._caches[0].captured_step)} == made


@pytest.mark.usefixtures("replaying")
def test_the_next_step_is_on_its_way_before_a_token_is_looked_at(tiny: LoadedModel) -> None:
    cache = kv_cache.growing_cache(tiny.model.config)
    model = Stepper(tiny.model, cache)
    model.read(torch.tensor([PROMPT]))
    chosen = decode.choices(model, lambda logits: logits.argmax(-1, keepdim=True), 3)
    next(chosen)
    assert isinstance(cache.captured_step, CapturedStep)
    assert cache.captured_step.held == len(PROMPT) + 1
    chosen.close()
    assert cache.get_seq_length() == len(PROMPT) + 1
    assert not Stepper(
        tiny.model, GrowingCache(config=tiny.model.config)
    ).runs_ahead  # layers without buffers


@pytest.mark.usefixtures("replaying")
def test_a_step_that_fails_is_told_and_done_eagerly(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager, _ = written(tiny, PROMPT, LONG)

    def broken(model: PreTrainedModel, dtype: str) -> captured_step.Step:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(captured_step, "step_of", broken)
    found, end = written(tiny, PROMPT, LONG)
    assert found == eager
    assert end.mode == "eager"
    told = "a CUDA graph failed (RuntimeError: operation not permitted when stream is capturing)"
    assert end.notes == (f"decoded eagerly: {told}",)
    monkeypatch.undo()
    monkeypatch.setattr(stepper, "REPLAYING", ("cpu",))
    assert written(tiny, PROMPT, LONG)[1] == end  # not tried again


@pytest.mark.usefixtures("replaying")
def test_runs_of_a_bench_share_buffers_and_step_except_the_one_whose_memory_counts(tiny: LoadedModel) -> None:
    kept, made = KeptCache(), []
    for with_memory in (True, False, False, True):
        run = BenchRun(context=20, steps=6, batch=2, with_memory=with_memory)
        found = bench_run.measured(tiny, Measure(request=1, run=run), lambda: False, kept)
        assert isinstance(found, Measured)
        assert (found.decode, len(found.token_ns), found.cached_tokens) == ("graph", 6, 25)
        assert kept._caches
        made.append(kept._caches[0].captured_step)
    assert made[0] is made[1] is made[2]
    assert made[3] is not made[0]


def test_buffers_are_finite_where_they_are_masked() -> None:
    """What is masked is multiplied by zero, and zero times NaN is none."""
    layer = kv_cache.GrowingLayer()
    layer.update(torch.ones(1, 2, 3, 8), torch.ones(1, 2, 3, 8))
    layer.reserve(CPU_CAPACITY_STEP + 1)
    assert not layer.key_buffer[:, :, 3:].any()
    assert not layer.value_buffer[:, :, 3:].any()


def test_a_draw_is_that_of_torch_multinomial() -> None:
    probabilities = torch.rand(3, 50, generator=torch.Generator().manual_seed(0)).softmax(-1)
    for seed in range(20):
        ours = sampling.drawn(probabilities, torch.Generator().manual_seed(seed))
        theirs = torch.multinomial(probabilities, 1, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("needed", "expected", "capacity"), [(1, 0, 256), (257, 0, 512), (40, 552, 1024)])
def test_capacity_on_a_gpu_is_a_power_of_two(needed: int, expected: int, capacity: int) -> None:
    assert runtime.capacity_tokens(needed, "cuda", expected) == capacity


@pytest.mark.usefixtures("replaying")
def test_a_cancel_is_no_failure_of_the_step(tiny: LoadedModel) -> None:
    cache = kv_cache.growing_cache(tiny.model.config)
    model = Stepper(tiny.model, cache)
    model.read(torch.tensor([PROMPT]))
    asked = iter([False])
    assert not model.read_unless(lambda: next(asked, True), torch.tensor([[7]]))
    assert (model.mode, model.notes) == ("graph", ())
    assert cache.get_seq_length() == len(PROMPT)
