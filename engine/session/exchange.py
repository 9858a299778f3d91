"""One thing at a time asked of a worker, and the events that answer it.

Owns the requests' numbers, and what is believed to be an answer: events that answer nothing which was asked,
such as the tail of an answer whose reader left, are dropped.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from engine.config.profile import Profile
from engine.protocol.answers import Rendered
from engine.protocol.failure import Cancel, Failed
from engine.protocol.runs import CopyMeasured, Measured
from engine.protocol.scores import ReferenceTaken, Scored, Tokenized
from engine.protocol.wire import Command, Event
from engine.session.life import Life

Result = TypeVar("Result", Rendered, Measured, CopyMeasured, Tokenized, ReferenceTaken, Scored)


class Exchange:
    """With one worker, all its life."""

    def __init__(self, profile: Profile, memory_limit_bytes: int | None) -> None:
        self.life = Life(profile, memory_limit_bytes, self._is_answer)
        self.is_busy = False
        self.is_stopping = False
        """A request was cancelled and has not ended yet."""
        self._requests = 0
        self._expected: tuple[type[Event], ...] = ()  # what may be said now

    def next_request(self) -> int:
        """The number of what is asked next."""
        if self.is_busy:
            raise RuntimeError("a session does one thing at a time")
        if self.life.worker is None and self.life.lost is None:
            raise RuntimeError("load() comes first")
        self._requests += 1
        return self._requests

    async def result(self, command: Command, last: type[Result]) -> Result | Failed:
        """The one event that answers a command; a reader that leaves early cancels it."""
        async with aclosing(self.asked(command, last, (last, Failed))) as events:
            async for event in events:
                if isinstance(event, last | Failed):
                    return event
        raise AssertionError("a request ends with its last event")

    async def asked(
        self, command: Command, last: type[Event], expected: tuple[type[Event], ...]
    ) -> AsyncGenerator[Event]:
        """Say it, and the answer up to its last event, which is of type `last` or Failed."""
        self.life.forget_events()
        self.is_busy, self._expected = True, expected
        ended = False
        try:
            await self.life.say(command)
            while not ended:
                event = await self.life.next_event()
                ended = isinstance(event, last | Failed)
                if ended:
                    self.rest()
                yield event
        finally:
            if not ended:  # the reader left early; after the end another request may be under way
                self._send_cancel() if self.life.is_loaded else self.life.end("cancelled")
                self.rest()

    def cancel(self) -> None:
        """Stop what the worker does now; a second call, while it is stopping still, ends the process."""
        if not self.is_busy:
            return
        if not self.life.is_loaded:
            self.life.end("cancelled")
        elif self.is_stopping:
            self.life.end("unresponsive")
        else:
            self.is_stopping = True
            self._send_cancel()

    async def close(self) -> None:
        """End the worker, if there is one or will be, and wait for its end."""
        if self.is_busy or self.life.worker is not None:
            self.life.end("cancelled")
        await self.life.buried()

    def rest(self) -> None:
        """Nothing is asked any more."""
        self.is_busy, self.is_stopping, self._expected = False, False, ()

    def _send_cancel(self) -> None:
        self.life.send(Cancel(request=self._requests))

    def _is_answer(self, event: Event) -> bool:
        """Whether this belongs to what was asked."""
        owner = getattr(event, "request", None)
        return self.is_busy and isinstance(event, self._expected) and owner in {None, self._requests}
