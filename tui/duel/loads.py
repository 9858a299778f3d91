"""The sides' models for a screen: loaded, replaced, ended; their loads and ends as messages.

Half of the bridge: turns are the other one's. Knows sessions and the duel, and no widget.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import get_args

from msgspec.structs import replace
from textual.message import Message

from engine.config.profile import Profile
from engine.duel.duel import Duel
from engine.duel.swap import return_text
from engine.plan import advice
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Staged, Started
from engine.protocol.wire import Event
from engine.session.client import Session
from engine.session.schedule import AskedSchedule, Schedule
from tui.duel.messages import LoadAdvanced, LoadBegan, LoadEnded, SideLost, SidePutBy
from tui.launch import Launch
from tui.pacer import Pacer

LATER = "one model is loaded at a time: this one when it is its turn"
AGAIN = "loading it again tries it all the same"

Open = Callable[[Profile], Session]


class Loads:
    """A session a side."""

    def __init__(
        self,
        profiles: Sequence[Profile],
        post: Callable[[Message], object],
        open_session: Open | None,
        launch: Launch,
    ) -> None:
        self._open: Open = open_session or Session
        self.duel = Duel([self._open(profile) for profile in profiles])
        self.duel.overrides = launch.overrides
        self.asked_schedule: AskedSchedule = "auto"
        self.choose_schedule(launch.schedule)
        self._post = post
        self._settled = [asyncio.Event() for _ in profiles]
        self._idle = asyncio.Event()
        self._idle.set()
        self._watches: set[asyncio.Task[None]] = set()
        self._closing = False
        self._blind = False
        self._warned: list[Profile] = []  # of loads that cannot succeed

    @property
    def answering(self) -> bool:
        """Whether a turn is under way."""
        return not self._idle.is_set()

    @property
    def stopping(self) -> bool:
        """Whether a cancelled answer goes on still; a second `cancel` ends its worker."""
        return self.duel.stopping

    @property
    def schedule(self) -> Schedule:
        """Whether the sides answer one after the other or at once."""
        return self.duel.schedule

    @property
    def contended(self) -> bool:
        """Whether answers would take speed from each other now."""
        return self.duel.contended(range(len(self.duel.sessions)))

    async def load(self, side: int, *, goes_on: bool = False) -> None:
        """Load a side's model. The last message is LoadEnded, unless another session takes the side."""
        session, settled = self.duel.sessions[side], self._settled[side]
        settled.clear()
        self._post(LoadBegan(side, session.profile, goes_on=goes_on))
        if self.schedule == "swap" or await self._refused(side, session.profile):
            if self.schedule == "swap":
                self._post(SidePutBy(side, LATER))
            settled.set()
            return
        if not self._holds(side, session):
            return
        pacer = Pacer()
        async for event in session.load():
            if not self._holds(side, session):
                return
            match event:
                case Staged():
                    pacer.due(partial(self._post, LoadAdvanced(side, event)))
                case Loaded() | Failed():
                    pacer.stop()
                    self._post(LoadEnded(side, event))
        if session.ready:
            self._watch(side, session)
        settled.set()

    async def replace(self, side: int, profile: Profile) -> None:
        """Put a profile on a side and load it. An answer that this side still owes is cancelled first."""
        self._settled[side].clear()
        if self._owes_answer(side):
            if not self.stopping:  # a second cancel would end the other side's worker, too
                self.duel.cancel()
            await self.duel.sessions[side].close()  # whether or not it stops
            await self._idle.wait()
        left, session = self.duel.sessions[side], self._open(profile)
        self.duel.replace(side, session)  # first: the end of one that is left is no news
        await left.close()
        if self._holds(side, session):
            await self.load(side)

    async def resize(self, profiles: Sequence[Profile]) -> None:
        """As many sides as these: the profiles after the last side's take new ones, sides too many end.

        Nothing may be answered now, and what is new is not loaded yet.
        """
        sessions, wanted = self.duel.sessions, len(profiles)
        for profile in profiles[len(sessions) :]:
            self.duel.add_side(self._open(profile))
            self._settled.append(asyncio.Event())
        ended = [self.duel.remove_side() for _ in sessions[wanted:]]
        for settled in self._settled[wanted:]:
            settled.set()  # a prompt that waits for them waits no more
        del self._settled[wanted:]
        await asyncio.gather(*(session.close() for session in ended))

    async def put_aside(self) -> None:
        """End all workers to give their memory back; the sides are lost until they are loaded again."""
        self.duel.cancel()
        await asyncio.gather(*(session.close() for session in self.duel.sessions))
        await self._idle.wait()

    def toggle_schedule(self) -> None:
        """One after the other, all at once, one loaded at a time; holds from the next prompt on."""
        schedules: tuple[Schedule, ...] = get_args(Schedule)
        self.choose_schedule(schedules[(schedules.index(self.schedule) + 1) % len(schedules)])

    def choose_schedule(self, asked: AskedSchedule) -> None:
        """From the next prompt on; `auto` is what fits: see `fit_together`."""
        self.asked_schedule = asked
        self.duel.schedule = "sequential" if asked == "auto" else asked

    async def fit_together(self) -> bool:
        """False where `auto` finds that the models do not fit: one is loaded at a time from now on."""
        if self.asked_schedule != "auto":
            return True
        profiles = [session.profile for session in self.duel.sessions]
        if await asyncio.to_thread(advice.fit_together, profiles):
            return True
        self.duel.schedule = "swap"
        return False

    async def _answers(self, events: AsyncIterator[tuple[int, Event]]) -> AsyncIterator[tuple[int, Event]]:
        """What the sides answer; the loads between the answers are reported to the screen."""
        held = self._held
        async for side, event in events:
            for other, session in sorted(held - self._held, key=itemgetter(0)):
                if not self._holds(other, session):
                    self._post(SidePutBy(other, self._return_of(other)))
            held = self._held
            if isinstance(event, Started | Staged | Loaded) or not self.duel.sessions[side].ready:
                self._tell_load(side, event)
            if not isinstance(event, Started | Staged | Loaded):
                yield side, event

    @property
    def _held(self) -> set[tuple[int, Session]]:
        """The sides that have their models, with who holds them."""
        return {(side, session) for side, session in enumerate(self.duel.sessions) if session.ready}

    def _return_of(self, side: int) -> str:
        """What became of the memory of a side whose worker was ended for another one's."""
        found = [found for found in self.duel.swap.returns if found.side == side]
        return return_text(found[-1]) if found else LATER

    def _tell_load(self, side: int, event: Event) -> None:
        """A load within a turn: one model is loaded at a time."""
        session = self.duel.sessions[side]
        match event:
            case Started():
                self._post(LoadBegan(side, session.profile, within_turn=True))
            case Staged():
                self._post(LoadAdvanced(side, event))
            case Loaded() | Failed():
                self._post(LoadEnded(side, event, within_turn=True))
        if isinstance(event, Loaded):
            self._watch(side, session)

    async def _refused(self, side: int, profile: Profile) -> bool:
        """Whether a load cannot possibly succeed, which is reported at once; asked for again it is tried."""
        if profile in self._warned:
            return False
        failed = await asyncio.to_thread(advice.refusal, profile)
        if failed is None:
            return False
        self._warned.append(profile)
        self._post(LoadEnded(side, replace(failed, hint=failed.hint.replace(advice.FORCE, AGAIN))))
        return True

    def _holds(self, side: int, session: Session) -> bool:
        """Whether the side is there still, and this session is its own."""
        return session in self.duel.sessions[side : side + 1]

    async def _loads_ended(self) -> None:
        await asyncio.gather(*(settled.wait() for settled in self._settled))

    def _owes_answer(self, side: int) -> bool:
        answer = self.duel.answers.get(side)
        return self.answering and answer is not None and not answer.ended

    def _watch(self, side: int, session: Session) -> None:
        """Report a worker that ends while it has nothing to do; one that answers reports itself."""

        async def watch() -> None:
            failure = await session.ended()
            answer = self.duel.answers.get(side)
            reported = self._owes_answer(side) or (answer is not None and answer.failure is failure)
            reported = reported and not self._blind
            if self._holds(side, session) and not self._closing and not reported:
                self._post(SideLost(side, failure))

        task = asyncio.create_task(watch())
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)

    async def close(self) -> None:
        """End all workers."""
        self._closing = True
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*(session.close() for session in self.duel.sessions))
