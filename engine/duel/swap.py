"""One model at a time: a side's worker ends before the other's begins, and its memory's return is checked.

Owns the change of sessions. Each side's conversation is the duel's business.
"""

import asyncio
import time
from collections.abc import AsyncGenerator

from msgspec import Struct

from engine.duel import prefetch
from engine.machine import hardware
from engine.protocol.loading import Loaded
from engine.protocol.wire import Event
from engine.session.client import Session
from engine.units import bytes_text

TOLERANCE = 0.02  # of what was free before
LONGEST_WAIT_S = 5.0
POLL_S = 0.1


class MemoryReturn(Struct, frozen=True, kw_only=True):
    """What a device had free before a worker began, while its model was loaded, and after it had ended."""

    side: int
    profile: str
    device: str
    free_before_bytes: int
    free_loaded_bytes: int
    free_after_bytes: int
    memory_returned: bool
    """Whether as much is free as before, but for 2 %."""
    waited_s: float


class Swap:
    """Brings one of several sessions at a time; `sessions` is the duel's own list, and is changed."""

    def __init__(self, sessions: list[Session]) -> None:
        self._sessions = sessions
        self._before: dict[int, dict[str, int]] = {}
        self.load_s: dict[int, float] = {}
        self.returns: list[MemoryReturn] = []
        """One for each worker that was ended."""

    async def bring(self, side: int) -> AsyncGenerator[Event]:
        """Load this side's model, unless it is there; the other's worker ends first. May end with Failed.

        Its files are read ahead meanwhile, when nobody is on the clock.
        """
        if self._sessions[side].ready:
            await self._end_others(side)
            return
        async with prefetch.reading(self._sessions[side].profile):
            await self._end_others(side)
            if self._sessions[side].pid is not None:
                self._sessions[side] = self._sessions[side].again()
            self._before[side] = await asyncio.to_thread(hardware.free_by_device)
            started_ns = time.monotonic_ns()
            async for event in self._sessions[side].load():
                if isinstance(event, Loaded):
                    self.load_s[side] = (time.monotonic_ns() - started_ns) / 1e9
                yield event

    async def _end_others(self, side: int) -> None:
        for other, session in enumerate(self._sessions):
            if other != side and session.pid is not None:
                await self._end(other)

    async def _end(self, side: int) -> None:
        """End a worker; where it had a model, wait until its memory is free again."""
        session = self._sessions[side]
        info, before = session.info, self._before.pop(side, {})
        was_loaded = session.ready
        loaded = await asyncio.to_thread(hardware.free_by_device)
        self._sessions[side] = session.again()
        await session.close()
        if not was_loaded or info is None or info.host or info.device not in before:
            return
        device, started_s = info.device, time.monotonic()
        needed = before[device] * (1 - TOLERANCE)
        free = (await asyncio.to_thread(hardware.free_by_device))[device]
        while free < needed and time.monotonic() - started_s < LONGEST_WAIT_S:
            await asyncio.sleep(POLL_S)
            free = (await asyncio.to_thread(hardware.free_by_device))[device]
        self.returns.append(
            MemoryReturn(
                side=side,
                profile=session.profile.name,
                device=device,
                free_before_bytes=before[device],
                free_loaded_bytes=loaded[device],
                free_after_bytes=free,
                memory_returned=free >= needed,
                waited_s=time.monotonic() - started_s,
            )
        )


def return_text(found: MemoryReturn) -> str:
    """`smollm2-fp32 ended: cpu has 20.11 GiB free again (20.12 before, 19.15 with it)`."""
    sizes = (found.free_after_bytes, found.free_before_bytes, found.free_loaded_bytes)
    free, before, loaded = map(bytes_text, sizes)
    again = "free again" if found.memory_returned else "free, which is not back within 2 %"
    return f"{found.profile} ended: {found.device} has {free} {again} ({before} before it, {loaded} with it)"
