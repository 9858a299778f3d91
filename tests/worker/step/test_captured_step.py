"""When a step is captured, and when it is not: on a CPU, with a capture that is counted instead of made."""

from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, PreTrainedModel

from engine.config import runtime
from engine.config.methods import BitsAndBytes
from engine.config.profile import Generation, Model, Profile
from engine.config.runtime import LEAST_GPU_CAPACITY
from engine.protocol.answers import Finished, Generate, Message, Prefilled, Prompted
from engine.protocol.loading import Load, Loaded, Staged
from engine.protocol.wire import Event
from engine.worker import serve
from engine.worker.generate import decode, rehearsal
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.host import memory
from engine.worker.load import LoadedModel, load
from engine.worker.step import capturable, captured_step, cuda_graph, kv_cache, stepper
from engine.worker.step.kv_cache import GrowingCache
from engine.worker.step.stepper import Stepper

PROMPT = list(range(70, 110))
SHAPE = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
Run = Callable[[], None]


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load(
        Profile(model=Model(source="random:tiny", dtype="float32", device="cpu")), 1, lambda staged: None
    )


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Grows by a word whenever a step is captured; a CPU counts as a GPU, with a GPU's capacity."""
    made: list[str] = []

    def captured(run: Run, device: torch.device) -> Run:
        made.append("captured")
        run()
        return run

    capacity = runtime.capacity_tokens
    monkeypatch.setattr(stepper, "REPLAYING", ("cpu",))
    monkeypatch.setattr(captured_step, "CAPTURING", ("cpu",))
    monkeypatch.setattr(cuda_graph, "capture", captured)
    monkeypatch.setattr(
        runtime, "capacity_tokens", lambda held, device, expected=0: capacity(held, "cuda", expected)
    )
    yield made
    captured_step.step_of.cache_clear()
    captured_step.failures.clear()


def answered(
    loaded: LoadedModel, settings: Generation, kept: KeptCache, ids: list[int] = PROMPT, *, cold: bool = False
) -> tuple[list[int], decode.End]:
    cache = kept.take(ids, loaded.model.config, settings.max_new_tokens, cold=cold)
    decode.prepare(loaded, cache)
    steps = list(decode.generate(loaded, ids, settings, lambda: False, cache))
    new = [step.id for step in steps if isinstance(step, decode.Token)]
    kept.keep(cache, [*ids, *new])
    assert isinstance(steps[-1], decode.End)
    return new, steps[-1]


class Listener:
    """In a wire's place: keeps what is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def is_cancelled(self, request: int) -> bool:
        return False


def asked(loaded: LoadedModel, kept: KeptCache, *, cold: bool = True, tokens: int = 6) -> list[Event]:
    command = Generate(
        request=1,
        messages=(Message("user", "Hello"),),
        generation=Generation(max_new_tokens=tokens),
        cold=cold,
    )
    wire: Any = Listener()
    serve._Request(wire, loaded, command, 1_000, kept).answer()
    assert isinstance(wire.events[-1], Finished), wire.events[-1]
    events: list[Event] = wire.events
    return events


def test_a_load_ends_with_a_captured_step_and_the_first_answer_makes_none(
    tiny: LoadedModel, captures: list[str]
) -> None:
    kept, told = KeptCache(), list[Staged]()
    rehearsal.rehearsed(tiny, kept, told.append)
    assert [(stage.stage, stage.step) for stage in told] == [("warm up", "capture decode step")]
    for _ in range(2):  # the second is cold too: it drops tokens, but keeps buffers and graph
        events = asked(tiny, kept)
        prompted = next(event for event in events if isinstance(event, Prompted))
        assert (prompted.ns, prompted.reused_tokens, prompted.notes) == (1_000, 0, ())
        assert isinstance(events[-1], Finished)
        assert (events[-1].decode, events[-1].notes) == ("graph", ())
    assert captures == ["captured"]


def test_memory_is_read_when_what_loading_needed_is_free_again(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, read = list[str](), memory.read
    wire: Any = Listener()
    monkeypatch.setattr(serve, "load", lambda *_, **__: tiny)
    monkeypatch.setattr(serve, "_release", lambda command: done.append("released"))
    monkeypatch.setattr(memory, "read", lambda *given: done.append("read") or read(*given))
    serve._load(wire, Load(profile=tiny.profile), KeptCache())
    assert done == ["released", "read"] and isinstance(wire.events[-1], Loaded)


def test_what_is_captured_for_an_answer_stands_before_its_clock(
    tiny: LoadedModel, captures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        decode, "time", SimpleNamespace(monotonic_ns=iter(range(0, 10**12, 10**9)).__next__)
    )  # a second passes between two looks
    prompted = next(event for event in asked(tiny, KeptCache()) if isinstance(event, Prompted))
    assert prompted.ns == 1_000 + 10**9
    assert prompted.notes == ("a CUDA graph for longer texts was captured before this answer: 1.0 s",)


def test_a_capture_comes_before_the_prompt_is_read(
    tiny: LoadedModel, captures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    monkeypatch.setattr(Listener, "emit", lambda self, event: captures.append(type(event).__name__))
    command = Generate(request=1, messages=(Message("user", "Hi"),), generation=Generation(max_new_tokens=2))
    wire: Any = listener
    serve._Request(wire, tiny, command, 0, KeptCache()).answer()
    assert captures[:3] == ["captured", Prompted.__name__, Prefilled.__name__]


def test_an_answer_that_outgrows_its_buffers_goes_on_eagerly_and_captures_nothing(
    tiny: LoadedModel, captures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.config.runtime.MOST_EXPECTED_TOKENS", 8)
    settings, kept = Generation(max_new_tokens=300), KeptCache()
    found, end = answered(tiny, settings, kept)
    assert len(PROMPT) + len(found) > LEAST_GPU_CAPACITY
    assert captures == ["captured"]
    assert end.notes == ("decoded eagerly: from 256 tokens on, beyond the capacity of the CUDA graph",)
    monkeypatch.setattr(stepper, "REPLAYING", ())
    assert found == answered(tiny, settings, KeptCache())[0]


def test_a_conversation_that_grows_moves_to_larger_buffers_between_two_answers(
    tiny: LoadedModel, captures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, ids, short = KeptCache(), list(PROMPT), Generation(max_new_tokens=20)
    found = []
    for _ in range(3):
        new, end = answered(tiny, short, kept, ids)
        found.append(new)
        assert (end.mode, end.notes) == ("graph", ())
        ids = [*ids, *new, *([7] * 100)]
    assert captures == ["captured"] * 2  # for 256 and for 512 tokens
    answered(tiny, short, kept, PROMPT, cold=True)
    assert captures == ["captured"] * 2  # both are kept
    monkeypatch.setattr(stepper, "REPLAYING", ())
    fresh, ids = KeptCache(), list(PROMPT)
    for new in found:
        assert answered(tiny, short, fresh, ids, cold=True)[0] == new
        ids = [*ids, *new, *([7] * 100)]


def test_a_conversation_that_grows_moves_into_larger_buffers_that_are_kept(
    tiny: LoadedModel, captures: list[str]
) -> None:
    kept, settings = KeptCache(), Generation(max_new_tokens=4)
    answered(tiny, settings, kept, [9] * 1500)
    new, _ = answered(tiny, settings, kept)
    longer = PROMPT + new + [7] * 600
    grown, end = answered(tiny, settings, kept, longer)
    assert end.mode == "graph" and captures == ["captured"] * 2
    assert grown == answered(tiny, settings, KeptCache(), longer)[0]


def test_two_sizes_are_kept_and_no_third(tiny: LoadedModel, captures: list[str]) -> None:
    kept, config = KeptCache(), tiny.model.config
    for tokens in (200, 2000, 20_000, 2000, 20_000, 200):
        cache = kept.empty(config, 1, tokens)
        decode.prepare(tiny, cache)
        kept.keep(cache, [])
    assert len(captures) == 4  # the last one was given up for the third
    assert len(kept._caches) == 2


def test_a_cache_that_was_taken_and_not_returned_lends_its_tokens_to_no_other(
    tiny: LoadedModel, captures: list[str]
) -> None:
    kept, short = KeptCache(), Generation(max_new_tokens=4)
    answered(tiny, Generation(max_new_tokens=400), kept, [5] * 50)
    answered(tiny, short, kept, PROMPT, cold=True)
    kept.take([*PROMPT, 3], tiny.model.config)  # a request that fails
    assert kept.take([*PROMPT, 3], tiny.model.config).get_seq_length() == 0


def test_while_nothing_is_captured_the_first_token_is_looked_at_before_the_next_step(
    tiny: LoadedModel, captures: list[str]
) -> None:
    cache = kv_cache.growing_cache(tiny.model.config)
    model = Stepper(tiny.model, cache)
    model.read(torch.tensor([PROMPT]))
    assert not model.runs_ahead
    chosen = decode.choices(model, lambda logits: logits.argmax(-1, keepdim=True), 3)
    next(chosen)
    assert cache.get_seq_length() == len(PROMPT)
    assert len(list(chosen)) == 2
    assert captures == []


def empty(run: Run, device: torch.device) -> Run:
    """A capture on the wrong device's stream: it holds nothing."""
    run()
    return lambda: None


def stuck(run: Run, device: torch.device) -> Run:
    """A graph whose inputs are not those that are written to: the same logits again and again."""
    owner: Any = run
    step = owner.__self__
    first = []

    def replayed() -> None:
        if not first:
            run()
            first.append(step.logits.clone())
        step.logits.copy_(first[0])

    return replayed


@pytest.mark.parametrize("captured", [empty, stuck])
def test_a_replay_that_does_nothing_or_always_the_same_is_no_replay(
    captured: Callable[[Run, torch.device], Run],
    tiny: LoadedModel,
    captures: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cuda_graph, "capture", captured)
    found, end = answered(tiny, Generation(max_new_tokens=8), KeptCache())
    told = "decoded eagerly: a CUDA graph failed (RuntimeError: the captured step gives different logits)"
    assert (end.mode, end.notes) == ("eager", (told,))
    monkeypatch.setattr(stepper, "REPLAYING", ())
    assert found == answered(tiny, Generation(max_new_tokens=8), KeptCache())[0]


def test_a_capture_without_memory_is_told_and_tried_again_for_the_next_answer(
    tiny: LoadedModel, captures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def captured(run: Run, device: torch.device) -> Run:
        captures.append("tried")
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(cuda_graph, "capture", captured)
    for tries in (1, 2):
        _, end = answered(tiny, Generation(max_new_tokens=4), KeptCache())
        assert (end.mode, end.notes) == (
            "eager",
            ("decoded eagerly: no CUDA graph was captured for this answer",),
        )
        assert len(captures) == tries


def llama(**rope: object) -> LlamaForCausalLM:
    parameters = {"rope_parameters": {"rope_theta": 10_000.0, **rope}} if rope else {}
    return LlamaForCausalLM(LlamaConfig(**SHAPE, **parameters))


def int8(threshold: float) -> PreTrainedModel:
    method = BitsAndBytes(bits=8, threshold=threshold)
    return load(
        Profile(model=Model(source="random:tiny", device="cpu"), quantization=method), 1, lambda staged: None
    ).model


def experts(how: str) -> PreTrainedModel:
    model = MixtralForCausalLM(MixtralConfig(**SHAPE, num_local_experts=2))
    model.config._experts_implementation = how
    return model


def on_two_devices() -> PreTrainedModel:
    model = llama()
    model.lm_head = nn.Linear(64, 256, device="meta")
    return model


def with_own_code() -> PreTrainedModel:
    module = ModuleType("transformers_modules.somebody")
    kind = type("LlamaForCausalLM", (LlamaForCausalLM,), {"__module__": module.__name__})
    return kind(LlamaConfig(**SHAPE))


def hooked_over_two() -> PreTrainedModel:
    model = llama()
    model.hf_device_map = {"model": "cuda:0", "lm_head": "cuda:1"}
    return model


LONG = {"long_factor": [2.0] * 8, "short_factor": [1.0] * 8, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (llama, ""),
        (lambda: llama(rope_type="linear", factor=2.0), ""),
        (lambda: llama(rope_type="dynamic", factor=2.0), "rotary"),
        (lambda: llama(rope_type="longrope", factor=2.0, **LONG), "rotary"),
        (lambda: int8(6.0), "outliers"),
        (lambda: int8(0.0), ""),
        (lambda: experts("eager"), "experts"),
        (lambda: experts("grouped_mm"), ""),
        (on_two_devices, "several devices"),
        (hooked_over_two, "several devices"),
        (with_own_code, "its own Python code"),
    ],
)
def test_what_waits_for_the_device_is_known_beforehand(
    make: Callable[[], PreTrainedModel], word: str
) -> None:
    found = capturable.obstacle(make())
    assert word in found
    assert bool(found) == bool(word)


def test_what_is_known_to_wait_is_not_tried_and_the_note_says_why(captures: list[str]) -> None:
    method = BitsAndBytes(bits=8)
    loaded = load(
        Profile(model=Model(source="random:tiny", device="cpu"), quantization=method), 1, lambda staged: None
    )
    _, end = answered(loaded, Generation(max_new_tokens=3), KeptCache())
    assert captures == []
    assert end.mode == "eager"
    assert end.notes == (
        "decoded eagerly: LLM.int8 looks for outliers in every layer, and waits for the GPU each time",
    )


def test_layers_that_forget_are_named_as_the_reason(tiny: LoadedModel, captures: list[str]) -> None:
    cache = GrowingCache(config=tiny.model.config)
    assert Stepper(tiny.model, cache).notes == (f"decoded eagerly: {stepper.WINDOWS}",)


def test_logits_that_are_no_numbers_are_told_with_the_answer() -> None:
    def loaded_with(spoil: float) -> LoadedModel:
        found = load(
            Profile(model=Model(source="random:tiny", dtype="float32", device="cpu")), 1, lambda staged: None
        )
        with torch.no_grad():
            found.model.get_output_embeddings().weight[3, 0] = spoil
        return found

    for spoil, notes in (
        (0.5, ()),
        (float("nan"), (stepper.NOT_FINITE,)),
        (float("inf"), (stepper.NOT_FINITE,)),
    ):
        _, end = answered(loaded_with(spoil), Generation(max_new_tokens=3), KeptCache())
        assert end.notes == notes
