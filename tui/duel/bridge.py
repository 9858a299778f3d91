"""The one place that awaits the engine: it turns events into messages, at most 20 a second and side.

Knows sessions and the duel, and a function that posts a message. Knows no widget.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import get_args

from msgspec.structs import replace
from textual.message import Message

from engine.config.profile import Generation, Profile
from engine.duel.comparison import comparisons
from engine.duel.conversation import Exchange
from engine.duel.duel import Duel
from engine.duel.lens import Lens, NoLens, look
from engine.duel.swap import return_text
from engine.plan import advice
from engine.protocol.answers import Finished
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Staged, Started
from engine.protocol.wire import Event
from engine.recordings.keeper import Keeper
from engine.recordings.rebuilt import conversation
from engine.recordings.recording import Recording
from engine.recordings.store import Duels
from engine.session.client import Session
from engine.session.schedule import AskedSchedule, Schedule
from engine.votes.blind import Blind
from tui.duel.figures import figures_of
from tui.duel.messages import (
    AnswerEnded,
    AnswerGrew,
    LoadAdvanced,
    LoadBegan,
    LoadEnded,
    NotKept,
    PathShown,
    SideAsked,
    SideLost,
    SidePutBy,
    SideStopping,
    TurnEnded,
)
from tui.launch import NOTHING_CHOSEN, Launch
from tui.pacer import Pacer

LATER = "one model is loaded at a time: this one when it is its turn"
AGAIN = "loading it again tries it all the same"
SEEDS = 1 << 31  # of which a new one is drawn: short enough to be typed
PATIENCE_S = 1.0  # from one cancel to the next that is meant

Open = Callable[[Profile], Session]


class Bridge:
    """The sessions of a duel, driven for a screen."""

    def __init__(
        self,
        profiles: Sequence[Profile],
        post: Callable[[Message], object],
        open_session: Open | None = None,
        launch: Launch = NOTHING_CHOSEN,
        duels: Duels | None = None,
    ) -> None:
        self._open: Open = open_session or Session
        self.duel = Duel([self._open(profile) for profile in profiles])
        self.duel.overrides = launch.overrides
        self.asked_schedule: AskedSchedule = "auto"
        self.choose_schedule(launch.schedule)
        self.keeper = Keeper(duels, lambda error: post(NotKept(error)))
        self._post = post
        self._settled = [asyncio.Event() for _ in profiles]
        self._idle = asyncio.Event()
        self._idle.set()
        self._watches: set[asyncio.Task[None]] = set()
        self._closing = False
        self._blind = False
        self._cancelled_s = float("-inf")
        self._warned: list[Profile] = []  # of loads that cannot succeed

    @property
    def answering(self) -> bool:
        """Whether a turn is under way."""
        return not self._idle.is_set()

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
        session = self.duel.sessions[side]
        self._settled[side].clear()
        self._post(LoadBegan(side, session.profile, goes_on=goes_on))
        if self.schedule == "swap" or await self._refused(side, session.profile):
            if self.schedule == "swap":
                self._post(SidePutBy(side, LATER))
            self._settled[side].set()
            return
        pacer = Pacer()
        async for event in session.load():
            if self.duel.sessions[side] is not session:
                return
            match event:
                case Staged():
                    pacer.due(partial(self._post, LoadAdvanced(side, event)))
                case Loaded() | Failed():
                    pacer.stop()
                    self._post(LoadEnded(side, event))
        if session.ready:
            self._watch(side, session)
        self._settled[side].set()

    async def replace(self, side: int, profile: Profile) -> None:
        """Put a profile on a side and load it. An answer that this side still owes is cancelled first."""
        self._settled[side].clear()
        if self._owes_answer(side):
            if not self.stopping:  # a second cancel would end the other side's worker, too
                self.duel.cancel()
            await self.duel.sessions[side].close()  # whether or not it stops
            await self._idle.wait()
        left = self.duel.sessions[side]
        self.duel.replace(side, self._open(profile))  # first: the end of one that is left is no news
        await left.close()
        await self.load(side)

    async def reopen(self, recording: Recording, kept: int, turns: Sequence[int]) -> list[int]:
        """Go on with a kept duel; returns the sides that must be loaded for it. Nothing may be answered now.

        `kept` and `turns` are the duel's and its turns' numbers in the file.
        """
        before = len(self.duel.sessions)
        await self.resize(recording.profiles)
        left, new = [], range(before, len(recording.profiles))
        for side, profile in enumerate(recording.profiles[:before]):
            session = self.duel.sessions[side]
            if session.profile != profile or not session.ready:
                self._settled[side].clear()
                self.duel.replace(side, self._open(profile))
                left.append((side, session))
        tree = conversation(recording)
        self.duel.go_on(tree)
        self.keeper.go_on(recording, tree, kept, turns)
        await asyncio.gather(*(session.close() for _, session in left))
        return [*(side for side, _ in left), *new]

    async def resize(self, profiles: Sequence[Profile]) -> None:
        """As many sides as these: the profiles after the last side's take new ones, sides too many end.

        Nothing may be answered now, and what is new is not loaded yet.
        """
        sessions, wanted = self.duel.sessions, len(profiles)
        for profile in profiles[len(sessions) :]:
            self.duel.add_side(self._open(profile))
            self._settled.append(asyncio.Event())
        ended = [self.duel.remove_side() for _ in sessions[wanted:]]
        del self._settled[wanted:]
        await asyncio.gather(*(session.close() for session in ended))

    async def ask_blind(self, blind: Blind, prompt: str, take: Callable[[int, Event], object]) -> None:
        """Put a prompt to two sides in a turn that no screen hears of: all its events go to `take`.

        Returns at once where a side has no model.
        """
        await self._loads_ended()
        if not blind.ready:
            return
        self._idle.clear()
        self._blind = True
        try:
            async with aclosing(blind.ask(prompt)) as events:
                async for side, event in self._answers(events):
                    take(side, event)
        finally:
            self._blind = False
            self._idle.set()

    async def ask(self, prompt: str, only: Sequence[int] = ()) -> None:
        """Put a prompt to all sides, or to some, as soon as none is loading any more."""
        await self._loads_ended()
        asked = [side for side in self.duel.able if not only or side in only]
        generation = self.duel.generation
        await self._turn(prompt, asked, self.duel.ask(prompt, generation, only), generation)

    async def ask_again(self, exchange: Exchange, prompt: str = "", *, new_seed: bool = False) -> None:
        """Ask an earlier prompt again, or another one in its place: a branch of its own."""
        await self._loads_ended()
        self.duel.show(exchange.before)
        prompt, generation = prompt or exchange.prompt, self.duel.generation
        if new_seed:
            generation = replace(generation, seed=secrets.randbelow(SEEDS))
        await self._turn(prompt, self.duel.able, self.duel.ask(prompt, generation), generation)

    async def resume(self) -> None:
        """Go on with the last answers that were cut."""
        await self._loads_ended()
        cut, generation = self.duel.conversation.last, self.duel.generation
        if cut is not None:
            sides = self.duel.resumable(cut)
            self.duel.show(cut.before)
            await self._turn(cut.prompt, sides, self.duel.resume(cut, generation), generation)

    def show_next_branch(self) -> None:
        """Turn to the branch that was begun after the one that is shown, or to the first."""
        ends = self.duel.conversation.ends
        place = ends.index(last) if (last := self.duel.conversation.last) in ends else -1
        self.duel.show(ends[(place + 1) % len(ends)])
        self.show_path(with_figures=True)
        self._post(TurnEnded(comparisons(self.duel)))

    @property
    def stopping(self) -> bool:
        """Whether a cancelled answer goes on still; a second `cancel` ends its worker."""
        return self.duel.stopping

    def cancel(self) -> None:
        """Stop all sides, whatever they do; a second call, a moment later, ends what is `stopping`."""
        now_s = time.monotonic()
        if self.stopping and now_s - self._cancelled_s < PATIENCE_S:
            return  # a key that is held down, or pressed twice
        self._cancelled_s = now_s
        self.duel.cancel()
        for side, session in enumerate(self.duel.sessions):
            if session.stopping and not self._blind:
                self._post(SideStopping(side))

    def forget(self) -> None:
        """Start the conversations over."""
        self.duel.forget()
        self.keeper.forget()

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

    def choose_for_lens(self, side: int) -> None:
        """Whose answer the lens reads next to A's; A itself stands for B."""
        self.duel.lens_side = side or 1

    async def look(self) -> Lens | NoLens:
        """The lens on the last turn; whoever leaves early stops it."""
        self._idle.clear()
        try:
            found = await look(self.duel)
            if isinstance(found, Lens):
                self.keeper.add_lens(found)
            return found
        finally:
            self._idle.set()

    async def put_aside(self) -> None:
        """End all workers to give their memory back; the sides are lost until they are loaded again."""
        self.duel.cancel()
        await asyncio.gather(*(session.close() for session in self.duel.sessions))
        await self._idle.wait()

    async def close(self) -> None:
        """End all workers."""
        self._closing = True
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*(session.close() for session in self.duel.sessions), self.keeper.aclose())

    async def _turn(
        self,
        prompt: str,
        asked: Sequence[int],
        stream: AsyncGenerator[tuple[int, Event]],
        settings: Generation,
    ) -> None:
        """Tell the screen about a turn that `stream` is."""
        self._idle.clear()
        try:
            self.show_path()
            number = len(self.duel.conversation.exchanges)
            for side in asked:
                first = side == asked[0] or self.duel.at_once(asked)
                self._post(SideAsked(side, prompt, first, number))
            feeds = {side: _Feed(side, self.duel, self._post) for side in asked}
            begun = False
            async for side, event in self._answers(self._kept(prompt, stream, settings)):
                if not begun:
                    begun = True
                    self.show_path()  # with what was taken over of the sides that are not asked
                feeds[side].take(event)
            self._post(TurnEnded(comparisons(self.duel)))
        finally:
            self._idle.set()

    def _kept(
        self, prompt: str, stream: AsyncGenerator[tuple[int, Event]], settings: Generation
    ) -> AsyncGenerator[tuple[int, Event]]:
        """The answers, which are kept on their way."""
        return self.keeper.keep(self.duel, prompt, stream, settings)

    def show_path(self, *, with_figures: bool = False) -> None:
        """Which exchanges each side's transcript shows, and the last one's figures."""
        path = self.duel.conversation.path
        answers = path[-1].answers if path and with_figures else {}
        for side in range(len(self.duel.sessions)):
            shown = frozenset(exchange.said_in[side] for exchange in path if side in exchange.said_in)
            figures = figures_of(answers[side]) if side in answers else None
            self._post(PathShown(side, shown, figures))

    async def _answers(self, events: AsyncIterator[tuple[int, Event]]) -> AsyncIterator[tuple[int, Event]]:
        """What the sides answer; the loads between the answers are reported to the screen."""
        reported = 0
        async for side, event in events:
            for found in self.duel.swap.returns[reported:]:
                self._post(SidePutBy(found.side, return_text(found)))
            reported = len(self.duel.swap.returns)
            if isinstance(event, Started | Staged | Loaded) or not self.duel.sessions[side].ready:
                self._tell_load(side, event)
            if not isinstance(event, Started | Staged | Loaded):
                yield side, event

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
            if self.duel.sessions[side] is session and not self._closing and not reported:
                self._post(SideLost(side, failure))

        task = asyncio.create_task(watch())
        self._watches.add(task)
        task.add_done_callback(self._watches.discard)


class _Feed:
    """One side's answer on its way to the screen."""

    def __init__(self, side: int, duel: Duel, post: Callable[[Message], object]) -> None:
        self._side, self._duel, self._post = side, duel, post
        self._said, self._thoughts = 0, 0  # characters that were passed on
        self._pacer = Pacer()

    def take(self, event: Event) -> None:
        """Take one event; the last one is passed on at once, with everything that waited."""
        if isinstance(event, Finished | Failed):
            self._pacer.stop()
            answer = self._duel.answers[self._side]
            self._post(AnswerEnded(self._side, answer, figures_of(answer)))
        else:
            self._pacer.due(self._grow)

    def _grow(self) -> None:
        answer = self._duel.answers[self._side]
        found = answer.parts
        text, thoughts = found.said[self._said :], found.thoughts
        is_new, self._said, self._thoughts = len(thoughts) > self._thoughts, len(found.said), len(thoughts)
        self._post(AnswerGrew(self._side, text, figures_of(answer), thoughts if is_new else ""))
