"""Sessions that play recorded runs, the application on top of them, and waiting on conditions."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Unpack

from textual.pilot import Pilot

from engine.config.profile import Generation, Profile
from engine.protocol.answers import Message
from engine.protocol.failure import Failed
from engine.protocol.wire import Event, decode_event
from engine.recordings.playback import Playback
from engine.session.client import How
from tui.app import QuantDuelApp
from tui.widgets.delta import Delta
from tui.widgets.prompt import Prompt

RECORDINGS = Path(__file__).parents[1] / "recordings"
DEADLINE_S = 60.0


def recording(name: str) -> list[Event]:
    """A recorded stream, such as `smollm2-nf4.answer`."""
    return [decode_event(line) for line in (RECORDINGS / f"{name}.jsonl").read_bytes().splitlines()]


async def wait_until(condition: Callable[[], object], why: str = "") -> None:
    """Return as soon as the condition holds."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"never happened: {why or condition}"
        await asyncio.sleep(0.01)


class Replay(Playback):
    """A session that says what a real one said.

    `answers` names the streams of its answers, in order; each waits at its `hold`th
    event, and a load at its `load_hold`th, until `go` is set. With `voice` it says what that profile said.
    """

    def __init__(
        self,
        wanted: Profile,
        *answers: str,
        hold: int | None = None,
        load_hold: int | None = None,
        voice: str = "",
    ) -> None:
        super().__init__(wanted, recording(f"{wanted.name}.load"), ())
        self.generations: list[Generation] = []
        self.how: list[How] = []
        self.go, self.died, self.closed = asyncio.Event(), asyncio.Event(), False
        self._names = [f"{voice or wanted.name}.{answer}" for answer in answers or ("answer",)]
        self._hold, self._load_hold, self._cancelling = hold, load_hold, False

    async def load(self) -> AsyncGenerator[Event]:
        async with aclosing(super().load()) as events:
            async for index, event in numbered(events):
                if index == self._load_hold:
                    await self.go.wait()
                yield event

    async def generate(
        self,
        messages: tuple[Message, ...],
        generation: Generation,
        **how: Unpack[How],
    ) -> AsyncGenerator[Event]:
        self.generations.append(generation)
        self.how.append(how)
        self._cancelling = False
        self._replies = [recording(self._names[min(len(self.asked), len(self._names) - 1)])]
        self._replies *= len(self.asked) + 1
        async with aclosing(super().generate(messages, generation)) as events:
            async for index, event in numbered(events):
                if index == self._hold:
                    await self.go.wait()
                if self._cancelling:
                    yield recording(f"{self.profile.name}.cancelled")[-1]
                    return
                if isinstance(event, Failed) and event.kind == "worker_lost":
                    self._life.lost = event
                    self.died.set()
                yield event

    def cancel(self) -> None:
        self._cancelling = True
        self.go.set()

    async def close(self) -> None:
        self.closed = True
        self.died.set()
        await asyncio.sleep(0.01)  # for whoever waits for the end, as a process's takes time

    async def ended(self) -> Failed:
        await self.died.wait()
        if self._life.lost:
            return self._life.lost
        failure = recording(f"{self.profile.name}.killed")[-1]
        assert isinstance(failure, Failed)
        self._life.lost = failure
        return failure


async def numbered(events: AsyncIterable[Event]) -> AsyncIterator[tuple[int, Event]]:
    """Events with their places."""
    place = 0
    async for event in events:
        yield place, event
        place += 1


class Stage:
    """An app on recorded sessions, and the sessions it opened."""

    def __init__(self, app: QuantDuelApp, pilot: Pilot[None], sessions: list[Replay]) -> None:
        self.app, self.pilot, self.sessions = app, pilot, sessions
        self.duel = app.duel_screen

    async def ready(self) -> None:
        """Wait until nothing loads."""
        await wait_until(lambda: not any(side.is_loading for side in self.duel.sides), "both loaded")

    async def ask(self, prompt: str) -> None:
        """Type a prompt, send it, and wait until the screen has taken it; one that answers refuses it."""
        turn, refuses = self.duel._turn, self.duel.is_asking
        self.duel.query_one(Prompt).text = prompt
        await self.pilot.press("enter")
        if not refuses:  # a busy machine takes a key after `press` has returned
            await wait_until(lambda: self.duel._turn is not turn, "prompt taken")

    async def settled(self) -> None:
        """Wait until both answers are complete on the screen, and the screen knows how they compare."""
        await wait_until(
            lambda: not self.duel.is_asking and not any(side.is_turning for side in self.duel.sides),
            "both answered",
        )
        await self._caught_up()
        replies = [pane.transcript.reply for pane in self.duel.panes]
        await wait_until(lambda: all(reply is None or reply.settled for reply in replies), "answers built")
        painted = asyncio.Event()
        self.duel.call_after_refresh(painted.set)
        await painted.wait()

    async def _caught_up(self) -> None:
        """Wait until the duel's screen has handled what it was told so far."""
        handled = asyncio.Event()
        self.duel.call_later(handled.set)
        await handled.wait()

    def text(self, side: int) -> str:
        """Everything a pane's conversation shows, as plain text."""
        return "\n".join(
            strip.text.rstrip()
            for widget in self.duel.panes[side].transcript.query("Static, MarkdownBlock, Label")
            for strip in widget.render_lines(widget.size.region)
        )

    @property
    def delta(self) -> str:
        """The comparison as plain text."""
        return self.duel.query_one(Delta).render().plain
