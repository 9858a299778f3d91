"""A conversation that goes on reads only what is new, and answers as if it had read everything."""

from collections.abc import Awaitable, Callable

import pytest
import torch

from engine.config import runtime
from engine.config.profile import Generation, Model, Profile
from engine.duel.duel import Duel
from engine.protocol.answers import Message, Prefilled, Prompted
from engine.protocol.failure import Failed
from engine.protocol.wire import Event
from engine.session.client import Session
from engine.stats.metrics import Timeline
from engine.worker.generate import decode
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.load import LoadedModel, load
from engine.worker.step.kv_cache import growing_cache

Loader = Callable[[Profile], Awaitable[Session]]
TURNS = (Message("user", "Tell me of the sea."), Message("assistant", "It is wet."), Message("user", "And?"))
SHORT = Generation(max_new_tokens=6)


@pytest.fixture(scope="module")
def exact() -> LoadedModel:
    return load(Profile(model=Model(source="random:tiny", dtype="float32")), 1, lambda staged: None)


def answered(loaded: LoadedModel, ids: list[int], kept: KeptCache, settings: Generation) -> list[int]:
    cache = kept.take(ids, loaded.model.config)
    steps = decode.generate(loaded, ids, settings, lambda: False, cache)
    new = [step.id for step in steps if isinstance(step, decode.Token)]
    kept.keep(cache, [*ids, *new])
    return new


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_answers_of_a_conversation_are_the_cold_ones(exact: LoadedModel, temperature: float) -> None:
    settings = Generation(max_new_tokens=20, temperature=temperature, seed=3, repetition_penalty=1.1)
    kept, ids = KeptCache(), list(range(70, 110))
    for turn in range(4):
        new = answered(exact, ids, kept, settings)
        assert new == answered(exact, ids, KeptCache(), settings)
        ids = [*ids, *new[: 15 + turn], *range(120, 130)]


def test_the_kept_cache_is_the_one_a_cold_read_would_have(exact: LoadedModel) -> None:
    kept, ids = KeptCache(), list(range(70, 110))
    ids += answered(exact, ids, kept, SHORT)
    warm, cold = kept.take([*ids, 7], exact.model.config), growing_cache(exact.model.config)
    held = warm.get_seq_length()
    assert held == len(ids) - 1  # the last token was never read
    with torch.inference_mode():
        exact.model(torch.tensor([ids[:held]]), past_key_values=cold)
    for ours, theirs in zip(warm.layers, cold.layers, strict=True):
        torch.testing.assert_close(ours.keys, theirs.keys, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.values, theirs.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("looks", [1, 2, 9, 20])
def test_a_prompt_whose_reading_is_stopped_in_the_middle_of_a_pass_is_read_on_afterwards(
    exact: LoadedModel, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    monkeypatch.setattr(runtime, "chunk_tokens", lambda parameters, device: 16)
    kept, ids, asked = KeptCache(), list(range(70, 110)), iter(range(1000))
    cache, parts = kept.take(ids, exact.model.config), []
    for step in decode.generate(exact, ids, SHORT, lambda: len(parts) == 2 and next(asked) >= looks, cache):
        parts.append(step)
    assert [part.done for part in parts[:-1] if isinstance(part, decode.Prefill)] == [0, 16]
    assert parts[-1] == decode.End("cancelled", "")
    kept.keep(cache, ids)
    assert kept.take(ids, exact.model.config).get_seq_length() == 16
    kept.keep(cache, ids)
    assert answered(exact, ids, kept, SHORT) == answered(exact, ids, KeptCache(), SHORT)


@pytest.fixture
async def session(load: Loader, make_profile: Callable[..., Profile]) -> Session:
    return await load(make_profile("tiny", "model: {source: 'random:tiny', dtype: float32}"))


async def events_of(session: Session, messages: tuple[Message, ...], *, cold: bool = False) -> list[Event]:
    return [event async for event in session.generate(messages, SHORT, cold=cold)]


def timeline(events: list[Event]) -> Timeline:
    folded = Timeline()
    for event in events:
        folded.add(event)
    return folded


async def test_a_worker_reads_only_what_is_new_and_says_so(session: Session) -> None:
    await events_of(session, TURNS[:1], cold=True)
    events = await events_of(session, TURNS)
    prompted = next(event for event in events if isinstance(event, Prompted))
    read = [event for event in events if isinstance(event, Prefilled)][-1]
    assert 0 < prompted.reused_tokens < prompted.tokens
    assert read.done == read.total == prompted.tokens - prompted.reused_tokens
    figures = timeline(events).metrics()
    assert figures.reused_tokens == prompted.reused_tokens
    prefill_s = (timeline(events).prefill_ns[-1] - timeline(events).prefill_ns[0]) / 1e9
    assert figures.prefill_tok_s == pytest.approx(read.total / prefill_s)


async def test_a_cold_request_reads_everything(session: Session) -> None:
    await events_of(session, TURNS)
    events = await events_of(session, TURNS, cold=True)
    assert timeline(events).metrics().reused_tokens == 0
    again = timeline(await events_of(session, TURNS)).metrics()
    assert again.reused_tokens == again.prompt_tokens - 1


async def test_a_refused_request_costs_the_cache_and_nothing_else(session: Session) -> None:
    await events_of(session, TURNS)
    too_long = (Message("user", "x" * 5000),)
    assert isinstance((await events_of(session, too_long))[-1], Failed)
    assert timeline(await events_of(session, TURNS)).metrics().reused_tokens == 0


async def test_a_duels_first_turn_is_cold_and_its_second_is_not(session: Session) -> None:
    duel = Duel([session])
    reused = []
    for question in ("Hello", "Hello again"):
        async for _ in duel.ask(question, SHORT):
            pass
        reused.append(duel.answers[0].metrics.reused_tokens)
    duel.forget()
    async for _ in duel.ask("Hello", SHORT):
        pass
    assert (reused[0], duel.answers[0].metrics.reused_tokens) == (0, 0)
    assert reused[1] > 0


def test_a_stopped_reading_leaves_every_layer_the_same_capacity(exact: LoadedModel) -> None:
    kept, ids, asked = KeptCache(), list(range(70, 110)), iter(range(1000))
    ids += answered(exact, ids, kept, SHORT)
    longer = [*ids, *(70 + number % 50 for number in range(200))]
    cache, parts = kept.take(longer, exact.model.config), []
    for step in decode.generate(exact, longer, SHORT, lambda: bool(parts) and next(asked) >= 12, cache):
        parts.append(step)
    assert parts[-1] == decode.End("cancelled", "")
    assert len({layer.key_buffer.shape for layer in cache.layers}) == 1
