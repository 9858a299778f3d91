"""The one place that awaits the engine, with `loads`: turns and their events as messages.

Knows sessions and the duel, and a function that posts a message. Knows no widget.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType

from msgspec.structs import replace
from textual.message import Message

from engine.config.profile import Generation, Profile
from engine.duel.comparison import comparisons
from engine.duel.conversation import Exchange
from engine.duel.lens import Lens, NoLens
from engine.duel.looking import look
from engine.duel.thinking import Parts
from engine.protocol.wire import Event
from engine.recordings.keeper import Keeper
from engine.recordings.rebuilt import conversation
from engine.recordings.recording import Recording
from engine.recordings.store import Duels
from engine.votes.blind import Blind
from tui.duel.feed import Feed
from tui.duel.figures import figures_of
from tui.duel.loads import Loads, Open
from tui.duel.messages import NotKept, PathShown, SideAsked, SideStopping, TurnEnded
from tui.launch import NOTHING_CHOSEN, Launch

SEEDS = 1 << 31  # of which a new one is drawn: short enough to be typed
PATIENCE_S = 1.0  # from one cancel to the next that is meant


class Bridge(Loads):
    """A duel, driven for a screen."""

    def __init__(
        self,
        profiles: Sequence[Profile],
        post: Callable[[Message], object],
        open_session: Open | None = None,
        launch: Launch = NOTHING_CHOSEN,
        duels: Duels | None = None,
    ) -> None:
        super().__init__(profiles, post, open_session, launch)
        self.keeper = Keeper(duels, lambda error: post(NotKept(error)))
        self._cancelled_s = float("-inf")

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
        if self._nobody(asked):
            return
        generation = self.duel.generation
        await self._turn(prompt, asked, self.duel.ask(prompt, generation, only), generation)

    async def ask_again(self, exchange: Exchange, prompt: str = "", *, new_seed: bool = False) -> None:
        """Ask an earlier prompt again, or another one in its place: a branch of its own."""
        await self._loads_ended()
        if self._nobody(self.duel.able):
            return
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
            before = {side: cut.answers[side].parts_to_resume for side in sides}
            await self._turn(cut.prompt, sides, self.duel.resume(cut, generation), generation, before)

    def show_next_branch(self) -> None:
        """Turn to the branch that was begun after the one that is shown, or to the first."""
        ends = self.duel.conversation.ends
        place = ends.index(last) if (last := self.duel.conversation.last) in ends else -1
        self.duel.show(ends[(place + 1) % len(ends)])
        self.show_path(with_figures=True)
        self._post(TurnEnded(comparisons(self.duel)))

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

    async def close(self) -> None:
        """End all workers, and what is kept."""
        await asyncio.gather(super().close(), self.keeper.aclose())

    def _nobody(self, asked: Sequence[int]) -> bool:
        """Whether no side is there to be asked: the turn is over, and the conversation as it was."""
        if not asked:
            self._post(TurnEnded(comparisons(self.duel)))
        return not asked

    async def _turn(
        self,
        prompt: str,
        asked: Sequence[int],
        stream: AsyncGenerator[tuple[int, Event]],
        settings: Generation,
        before: Mapping[int, Parts] = MappingProxyType({}),
    ) -> None:
        """Tell the screen about a turn that `stream` is; `before` are the answers that are gone on with."""
        self._idle.clear()
        try:
            self.show_path()
            number = len(self.duel.conversation.exchanges)
            for side in asked:
                first = side == asked[0] or self.duel.at_once(asked)
                self._post(SideAsked(side, prompt, first, number, before.get(side)))
            feeds = {side: Feed(side, self.duel, self._post, before.get(side)) for side in asked}
            begun = False
            async for side, event in self._answers(self._kept(prompt, stream, settings)):
                if not begun:
                    begun = True
                    self.show_path()  # with what was taken over of the sides that are not asked
                feeds[side].take(event)
            if before:
                self.show_path(with_figures=True)  # with what stands as it was: its turn did not come
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
