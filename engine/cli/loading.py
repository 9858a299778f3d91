"""Models loaded for one command and closed again whatever happens, with progress in one line on stderr."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from engine import paths
from engine.cli import terminal
from engine.config.profile import Profile
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Staged
from engine.session.client import Session
from engine.session.progress import UNHEARD, stage_text


class ProgressLine:
    """One line on stderr, rewritten in place. Where stderr is no terminal, what may take for ever alone."""

    def __init__(self) -> None:
        self._said = ""
        self._shown = sys.stderr.isatty() and not paths.terminal().is_plain

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._shown:
            terminal.rewrite(text)
        elif UNHEARD in text and text != self._said:
            self._said = text
            terminal.say(text, err=True)

    def clear(self) -> None:
        """Take the line away."""
        self.show("")


@dataclass(slots=True)
class LoadedSide:
    """A session after its load: ready, or with the failure that ended it."""

    session: Session
    load_s: float | None = None
    failure: Failed | None = None


@asynccontextmanager
async def loaded(
    profiles: Sequence[Profile],
    limits: Sequence[int | None] = (),
    *,
    force: bool = True,
    later: bool = False,
) -> AsyncIterator[list[LoadedSide]]:
    """Sessions of these profiles, loaded one after the other so that no load slows another.

    `limits` are bytes a worker may take. Unless `force`, one that cannot fit is refused before it begins.
    `later` leaves loading to the duel; a session that replaces a side's is put here.
    """
    allowed = [*limits, *[None] * len(profiles)]
    sides = [
        LoadedSide(Session(profile, memory_limit_bytes=limit))
        for profile, limit in zip(profiles, allowed, strict=False)
    ]
    progress = ProgressLine()
    try:
        for side in sides:
            side.failure = None if force else await refused(side.session)
            if side.failure is None and not later:
                await _load(side, progress)
        progress.clear()
        if not later:
            await newly_lost(sides)
        yield sides
    finally:
        progress.clear()
        await asyncio.gather(*(side.session.close() for side in sides))


async def newly_lost(sides: Sequence[LoadedSide]) -> list[LoadedSide]:
    """The loaded sides whose worker has ended unasked since; each has that as its failure from now on."""
    lost = [side for side in sides if side.failure is None and not side.session.ready]
    for side in lost:
        side.failure = await side.session.ended()
    return lost


async def refused(session: Session) -> Failed | None:
    """Why this load cannot possibly succeed; None where it might."""
    from engine.plan import advice

    return await asyncio.to_thread(advice.refusal, session.profile, session.memory_limit_bytes)


async def _load(side: LoadedSide, progress: ProgressLine) -> None:
    name = side.session.profile.name
    started_ns = time.monotonic_ns()
    progress.show(f"{name}: starting")
    async for event in side.session.load():
        match event:
            case Staged():
                progress.show(f"{name}: {stage_text(event)}")
            case Loaded():
                side.load_s = (time.monotonic_ns() - started_ns) / 1e9
            case Failed():
                side.failure = event
