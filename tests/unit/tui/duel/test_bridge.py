"""The bridge: recorded events in, messages out."""

import asyncio
from itertools import pairwise

import pytest
from textual.message import Message

from engine.config import profiles
from engine.config.profile import Profile
from engine.protocol.answers import Decoded
from engine.protocol.loading import Loaded
from tests.tui.replay import Replay, recording, wait_until
from tui.duel.bridge import Bridge
from tui.duel.messages import AnswerEnded, AnswerGrew, LoadBegan, LoadEnded, SideAsked, SideLost, TurnEnded

PROFILES = (profiles.find("smollm2-bf16"), profiles.find("smollm2-nf4"))


class Play:
    """A bridge on recorded sessions, and what it posted."""

    def __init__(self, **options: dict[str, object]) -> None:
        self.messages: list[Message] = []
        self.sessions: list[Replay] = []
        self._options = options
        self.bridge = Bridge(PROFILES, self.messages.append, self._open)

    def _open(self, wanted: Profile) -> Replay:
        letter = "a" if wanted.name == "smollm2-bf16" else "b"
        options = dict(self._options.get(letter, {}))
        self.sessions.append(Replay(wanted, *options.pop("answers", []), **options))  # type: ignore[misc, arg-type]
        return self.sessions[-1]

    async def load(self) -> None:
        await asyncio.gather(self.bridge.load(0), self.bridge.load(1))

    def of(self, kind: type[Message], side: int | None = None) -> list[Message]:
        return [
            m
            for m in self.messages
            if (isinstance(m, kind) and getattr(m, "side", side) == side)
            or (isinstance(m, kind) and side is None)
        ]


def text_of(name: str) -> str:
    return "".join(event.text for event in recording(name) if isinstance(event, Decoded))


async def test_a_load_begins_and_ends() -> None:
    play = Play()
    await play.load()
    for side in (0, 1):
        assert isinstance(play.of(LoadBegan, side)[0], LoadBegan)
        assert isinstance(play.of(LoadEnded, side)[-1].result, Loaded)


async def test_every_token_arrives_in_few_messages() -> None:
    play = Play()
    await play.load()
    await play.bridge.ask("hi")
    for side, name in enumerate(("smollm2-bf16", "smollm2-nf4")):
        end = play.of(AnswerEnded, side)[-1]
        grown = "".join(message.text for message in play.of(AnswerGrew, side))
        assert end.answer.text == text_of(f"{name}.answer")
        assert end.answer.text.startswith(grown)
        assert len(play.of(AnswerGrew, side)) < len(end.answer.token_ids) / 2


async def test_growing_is_paced() -> None:
    play = Play(a={"hold": 100})
    await play.load()
    stamps: list[float] = []
    clock = asyncio.get_running_loop().time
    post = play.bridge._post
    play.bridge._post = lambda message: (
        stamps.append(clock()) if isinstance(message, AnswerGrew) else 0,
        post(message),
    )
    turn = asyncio.create_task(play.bridge.ask("hi"))
    await wait_until(lambda: len(stamps) >= 2, "the first tokens are shown while the answer is held")
    play.sessions[0].go.set()
    await turn
    first_side = stamps[: len(play.of(AnswerGrew, 0))]
    assert all(b - a > 0.04 for a, b in pairwise(first_side))


async def test_a_turn_compares_both() -> None:
    play = Play()
    await play.load()
    await play.bridge.ask("hi")
    end = play.of(TurnEnded)[-1]
    assert end.comparison is not None
    assert end.comparison.labels == ("bf16", "nf4")
    assert end.comparison.input.identical
    place = end.comparison.divergence
    assert place.token == 4 and place.texts == (" the", " a")
    texts = [play.bridge.duel.answers[side].text[offset:] for side, offset in enumerate(place.offsets)]
    assert texts[0].startswith(" the") and texts[1].startswith(" a")


async def test_the_order_alternates() -> None:
    play = Play()
    await play.load()
    await play.bridge.ask("one")
    await play.bridge.ask("two")
    assert [(m.side, m.first) for m in play.of(SideAsked)] == [(0, True), (1, False), (1, True), (0, False)]


async def test_at_once_nobody_waits_and_speeds_are_marked() -> None:
    play = Play()
    await play.load()
    play.bridge.toggle_schedule()
    await play.bridge.ask("hi")
    assert all(message.first for message in play.of(SideAsked))
    assert all(message.figures.metrics.contended for message in play.of(AnswerEnded))


async def test_a_prompt_waits_for_both_loads() -> None:
    play = Play()
    await play.bridge.load(0)
    turn = asyncio.create_task(play.bridge.ask("hi"))
    await asyncio.sleep(0)
    assert not play.of(SideAsked)
    await play.bridge.load(1)
    await turn
    assert [message.side for message in play.of(SideAsked)] == [0, 1]


async def test_one_side_lost_the_other_answers() -> None:
    play = Play(a={"answers": ["killed"]})
    await play.load()
    await play.bridge.ask("hi")
    lost, other = play.of(AnswerEnded, 0)[-1], play.of(AnswerEnded, 1)[-1]
    assert lost.answer.failure.kind == "worker_lost"
    assert lost.answer.text == text_of("smollm2-bf16.killed")
    assert other.answer.finish_reason in {"stop", "length"}
    await play.bridge.ask("again")
    assert play.of(SideAsked)[-1].side == 1
    assert not play.of(SideLost)  # it was told once


async def test_a_worker_that_dies_idle_is_reported_once() -> None:
    play = Play()
    await play.load()
    play.sessions[1].died.set()
    await wait_until(lambda: play.of(SideLost))
    assert [message.side for message in play.of(SideLost)] == [1]


async def test_a_replaced_side_loads_anew_and_the_old_worker_ends() -> None:
    play = Play()
    await play.load()
    old = play.sessions[1]
    await play.bridge.replace(1, PROFILES[0])
    assert old.closed
    assert play.of(LoadEnded, 1)[-1].result.info.label == "bf16"
    old.died.set()
    await play.bridge.ask("hi")
    assert not play.of(SideLost)
    assert play.of(TurnEnded)[-1].comparison.divergence is None


async def test_replacing_a_side_that_answers_cancels_first() -> None:
    play = Play(b={"hold": 20})
    await play.load()
    turn = asyncio.create_task(play.bridge.ask("hi"))
    await wait_until(lambda: play.of(AnswerGrew, 1))
    await play.bridge.replace(1, PROFILES[1])
    await turn
    assert play.of(AnswerEnded, 1)[-1].answer.finish_reason == "cancelled"
    assert play.sessions[1].closed


async def test_a_failed_side_reloads_while_the_other_answers() -> None:
    play = Play(a={"answers": ["killed"]}, b={"hold": 20})
    await play.load()
    turn = asyncio.create_task(play.bridge.ask("hi"))
    await wait_until(lambda: play.of(AnswerGrew, 1))
    await play.bridge.replace(0, PROFILES[0])
    assert not turn.done()
    play.sessions[1].go.set()
    await turn
    assert play.of(AnswerEnded, 1)[-1].answer.finish_reason != "cancelled"


@pytest.mark.parametrize("name", ["smollm2-bf16.load", "smollm2-nf4.answer"])
def test_recordings_are_what_the_protocol_reads(name: str) -> None:
    events = recording(name)
    assert [event.ns for event in events] == sorted(event.ns for event in events)
