"""Duels of two real workers on small random models."""

import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from engine.config.profile import Generation, Profile
from engine.duel.duel import Duel
from engine.protocol import Decoded, Prompted
from engine.session.client import Session
from engine.session.schedule import Schedule

Loader = Callable[[Profile], Awaitable[Session]]
TINY = "model: {source: 'random:tiny'}"
NF4 = f"{TINY}\nquantization: {{method: bitsandbytes}}"
SHORT = Generation(max_new_tokens=8)


@pytest.fixture
async def duel(load: Loader, make_profile: Callable[..., Profile]) -> Duel:
    return Duel([await load(make_profile("a", TINY)), await load(make_profile("b", NF4))])


async def ask(duel: Duel, prompt: str = "Hello", settings: Generation = SHORT) -> list[tuple[int, object]]:
    return [item async for item in duel.ask(prompt, settings)]


async def test_both_sides_get_the_same_input_and_answer(duel: Duel) -> None:
    await ask(duel)
    proof = duel.input()
    assert proof and proof.identical and proof.tokens > 0 and len(proof.sha256) == 64
    for answer in duel.answers.values():
        assert answer.ended and answer.memory and answer.metrics.decode_tok_s
        assert not answer.metrics.contended


async def test_sides_alternate_in_going_first(duel: Duel) -> None:
    starts = []
    for _ in range(2):
        prompted = [side for side, event in await ask(duel) if isinstance(event, Prompted)]
        starts.append(prompted)
    assert starts == [[0, 1], [1, 0]]


@pytest.mark.parametrize("schedule", ["sequential", "concurrent"])
async def test_only_concurrent_speeds_are_contended(duel: Duel, schedule: Schedule) -> None:
    duel.schedule = schedule
    await ask(duel)
    assert all(a.metrics.contended is (schedule == "concurrent") for a in duel.answers.values())


async def test_a_conversation_goes_on_and_can_be_forgotten(duel: Duel) -> None:
    await ask(duel)
    first = duel.answers[0].timeline.prompt_tokens
    await ask(duel)
    assert duel.answers[0].timeline.prompt_tokens > first
    duel.forget()
    await ask(duel)
    assert duel.answers[0].timeline.prompt_tokens == first


async def test_one_side_killed_leaves_the_other_answering(duel: Duel) -> None:
    duel.schedule = "concurrent"
    victim = duel.sessions[0].pid
    assert victim
    async for side, event in duel.ask("Hello", Generation(max_new_tokens=60, temperature=1.0)):
        if side == 0 and isinstance(event, Decoded) and duel.answers[0].failure is None and victim:
            os.kill(victim, signal.SIGKILL)
            victim = 0
    lost, survivor = duel.answers[0], duel.answers[1]
    assert lost.failure and lost.failure.kind == "worker_lost"
    assert survivor.finish_reason in {"length", "stop"}


async def test_cancel_also_stops_the_side_that_has_not_begun(duel: Duel) -> None:
    async for side, event in duel.ask("Hello", Generation(max_new_tokens=2000, temperature=1.0)):
        if side == 0 and isinstance(event, Decoded) and not duel.stopping:
            duel.cancel()
    assert duel.answers[0].finish_reason in {"cancelled", "stop"}
    assert duel.answers[1].failure and duel.answers[1].failure.kind == "cancelled"
    await ask(duel)
    assert all(answer.finish_reason for answer in duel.answers.values())
