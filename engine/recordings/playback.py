"""Sessions without a worker, which say what real ones said: a recording played at its own pace or faster.

Owns the pace. Nothing of the profile is looked at, loaded or read: it may be a stranger's.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Unpack

from engine.config.profile import Generation, Profile
from engine.protocol.answers import Message
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded
from engine.protocol.wire import Event
from engine.recordings.recording import NOT_RECORDED, Recording
from engine.session.client import ANSWERING, How, Session

LONGEST_GAP_S = 5.0  # between two events, as played; what took longer is cut short
NOT_LOADED = Failed(kind="not_loaded", message="the recording has no model on this side")


class Pace:
    """How fast recorded time goes by; 0 does not wait at all. The sides of a duel share one."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._going = asyncio.Event()
        self._going.set()

    @property
    def paused(self) -> bool:
        """Whether time stands still."""
        return not self._going.is_set()

    def toggle(self) -> None:
        """Stand still, or go on."""
        self._going.set() if self.paused else self._going.clear()

    def skip(self) -> None:
        """Wait no more."""
        self.speed = 0.0
        self._going.set()

    async def wait(self, gap_ns: int) -> None:
        """Let as much recorded time go by; other tasks run meanwhile."""
        await self._going.wait()
        seconds = min(LONGEST_GAP_S, max(0, gap_ns) / 1e9)
        await asyncio.sleep(seconds / self.speed if self.speed > 0 else 0)
        await self._going.wait()


class Playback(Session):
    """One side: `loads` are the events of its load, `answers` those of each answer, in their order."""

    def __init__(
        self,
        profile: Profile,
        loads: Sequence[Event],
        answers: Sequence[Sequence[Event]],
        pace: Pace | None = None,
    ) -> None:
        super().__init__(profile)
        self.asked: list[tuple[Message, ...]] = []
        """The conversations that were put to it."""
        self._loads, self._replies = loads, answers
        self._pace = pace or Pace(0)
        self._ended = asyncio.Event()

    async def load(self) -> AsyncGenerator[Event]:
        """What the load said."""
        async for event in self._told(self._loads):
            if isinstance(event, Loaded):
                self.info, self.memory = event.info, event.memory
            yield event

    async def generate(
        self,
        messages: tuple[Message, ...],
        generation: Generation,
        **how: Unpack[How],
    ) -> AsyncGenerator[Event]:
        """What the next answer said, whatever is asked."""
        self.asked.append(messages)
        answer = self._replies[len(self.asked) - 1] if len(self.asked) <= len(self._replies) else ()
        async for event in self._told(answer or (NOT_RECORDED,)):
            yield event

    def cancel(self) -> None:
        """Nothing is computed: what is left comes at once."""
        self._pace.skip()

    async def close(self) -> None:
        """Nothing is held."""
        self._ended.set()

    async def ended(self) -> Failed:
        """Once it is closed."""
        await self._ended.wait()
        return NOT_RECORDED

    async def _told(self, events: Sequence[Event]) -> AsyncGenerator[Event]:
        """The events, each as long after the one before as it was."""
        before_ns: int | None = None
        for event in events:
            await self._pace.wait(0 if before_ns is None else event.ns - before_ns)
            before_ns = event.ns
            yield event


def playbacks(recording: Recording, pace: Pace) -> list[Session]:
    """A session a side."""
    return [_playback(recording, side, pace) for side in range(len(recording.profiles))]


def _playback(recording: Recording, side: int, pace: Pace) -> Playback:
    answers = [
        tuple(event for event in turn.of_side(side) if isinstance(event, ANSWERING))
        for turn in recording.turns
    ]
    said = (event for turn in recording.turns for event in turn.of_side(side))
    loaded = next((event for event in said if isinstance(event, Loaded)), NOT_LOADED)
    return Playback(recording.profiles[side], (loaded,), answers, pace)
