"""Duels of two real workers on small random models."""

import os
import signal
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from engine.config.profile import Generation, Profile
from engine.duel.comparison import difference
from engine.duel.conversation import History
from engine.duel.duel import Duel
from engine.protocol.answers import Decoded, Prompted
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
    assert difference(duel).startswith("B does not read 1 earlier prompt, to which it gave no answer")


async def test_a_cut_answer_goes_on_as_if_it_had_not_been_cut(duel: Duel) -> None:
    for settings in (Generation(max_new_tokens=12), Generation(max_new_tokens=12, temperature=1.0, seed=3)):
        duel.forget()
        await ask(duel, settings=settings)
        whole = {side: (answer.token_ids, answer.text) for side, answer in duel.answers.items()}
        duel.forget()
        await ask(duel, settings=replace(settings, max_new_tokens=5))
        cut = duel.conversation.last
        assert cut and sorted(duel.resumable(cut)) == [0, 1]
        assert [item async for item in duel.resume(cut, replace(settings, max_new_tokens=7))]
        assert {side: (answer.token_ids, answer.text) for side, answer in duel.answers.items()} == whole
        assert all(answer.resumed == 5 and answer.metrics.new_tokens == 7 for answer in duel.answers.values())
        assert duel.answers[0].ending == "cut at the limit of 12 tokens (max_new_tokens)"
        assert [end.number for end in duel.conversation.ends] == [0, 1]


async def test_an_earlier_prompt_asked_again_begins_a_branch(duel: Duel) -> None:
    duel.forget()
    for prompt in ("One", "Two"):
        await ask(duel, prompt)
    one, two = duel.conversation.path
    before = duel.conversations
    duel.show(two.before)
    await ask(duel, "Zwei")
    assert [exchange.prompt for exchange in duel.conversation.path] == ["One", "Zwei"]
    assert duel.answers[0].messages[:2] == before[0][:2] and duel.answers[0].messages[-1].content == "Zwei"
    duel.show(two)
    assert duel.conversations == before and duel.answers is two.answers
    assert duel.conversation.ends[0] is two and one.before is None


async def test_one_side_alone_is_asked_and_remembers_alone(duel: Duel) -> None:
    duel.forget()
    _ = [item async for item in duel.ask("Only B", SHORT, only=[1])]
    assert list(duel.answers) == [1]
    a, b = duel.conversations
    assert a == () and [message.role for message in b] == ["user", "assistant"]


@pytest.mark.parametrize("history", ["shared", "fresh"])
async def test_both_sides_read_the_same_where_that_is_chosen(duel: Duel, history: History) -> None:
    duel.forget()
    await ask(duel, "One", Generation(max_new_tokens=8, temperature=2.0))
    said = duel.answers[0].text
    duel.history = history
    try:
        await ask(duel, "Two")
        given = duel.input()
        assert given and given.identical
        contents = [message.content for message in duel.answers[1].messages]
        assert contents == (["One", said, "Two"] if history == "shared" else ["Two"])
    finally:
        duel.history = "own"


async def test_another_model_on_a_side_has_said_nothing(duel: Duel) -> None:
    duel.forget()
    await ask(duel, "One")
    last, mine = dict(duel.answers), duel.conversations[0]
    duel.replace(1, duel.sessions[1])
    assert duel.conversations == (mine, ()) and duel.answers == last
