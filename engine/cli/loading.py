"""Models loaded for one command and closed again whatever happens, with progress in one line on stderr."""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from engine import paths
from engine.client import Session
from engine.profile import Profile
from engine.protocol import Failed, Loaded, Staged
from engine.text import visible
from engine.units import bytes_text, share_text


class ProgressLine:
    """One line on stderr, rewritten in place; nothing at all where stderr is no terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty() and not paths.terminal().is_plain

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._shown:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[2K{visible(text, keep_newlines=False)[:width]}")
            sys.stderr.flush()

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
async def loaded(profiles: Sequence[Profile]) -> AsyncIterator[list[LoadedSide]]:
    """Sessions of these profiles, loaded one after the other so that no load slows another."""
    sides = [LoadedSide(Session(profile)) for profile in profiles]
    progress = ProgressLine()
    try:
        for side in sides:
            await _load(side, progress)
        progress.clear()
        yield sides
    finally:
        progress.clear()
        await asyncio.gather(*(side.session.close() for side in sides))


async def _load(side: LoadedSide, progress: ProgressLine) -> None:
    name = side.session.profile.name
    started_ns = time.monotonic_ns()
    progress.show(f"{name}: starting")
    async for event in side.session.load():
        match event:
            case Staged():
                progress.show(f"{name}: {stage_text(event)}")
            case Loaded(ns=ns):
                side.load_s = (ns - started_ns) / 1e9
            case Failed():
                side.failure = event


def stage_text(event: Staged) -> str:
    """`read 42 %, 108.2 MiB of 256.6 MiB`."""
    done, total = str(event.done), str(event.total)
    if event.unit == "bytes":
        done, total = bytes_text(event.done), bytes_text(event.total)
    amount = (
        f"{done} of {total} {event.unit}" if event.total else f"{done} {event.unit}" if event.done else ""
    )
    amount = amount.removesuffix(" bytes")
    parts = (share_text(event.done, event.total), amount, event.detail)
    return " ".join((event.stage, ", ".join(part for part in parts if part))).rstrip()
