"""Which models are on the sides: loaded, replaced, one more, one less, aside. A part of the duel's screen."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING

from engine.config.profile import Profile
from engine.duel.sides import LETTERS, all_of
from tui.again import CONFIRM_S, Again
from tui.screens.duel.asking import Asking
from tui.screens.duel.in_view import InView
from tui.widgets.delta import Delta
from tui.widgets.pane import Pane
from tui.widgets.side_tabs import SideTabs

if TYPE_CHECKING:
    from engine.recordings.recording import Recording
    from tui.screens.profiles import Choice

MOST_RETOLD = 20  # turns of a kept duel that are shown when it is gone on with


class Models(InView, Asking):
    """A model a side."""

    _again: Again
    _named: list[str]  # what the sides' profiles were called
    _aside = False  # whether long work has the models' memory

    def action_pick(self) -> None:
        """Put another profile on the side that is in view."""
        self.pick(self.active())

    def pick(self, side: int) -> None:
        """Open the picker for a side."""
        from tui.screens.profiles import ProfilePicker

        names = [pane.side.profile.name for pane in self.panes]
        self.app.push_screen(ProfilePicker(side, names), self._put)

    def add_side(self) -> None:
        """Open the picker for one more side."""
        from tui.screens.profiles import ProfilePicker

        if not self.is_answering():
            names = [pane.side.profile.name for pane in self.panes]
            self.app.push_screen(ProfilePicker(len(names), [*names, "nothing yet"]), self._put)

    def _put(self, choice: Choice | None) -> None:
        """The profile that was picked, on the side that was meant, or on one more."""
        if choice is None:
            return
        if choice.side < len(self.panes):
            self._named[choice.side] = choice.named
            self._replace(choice.side, choice.profile)
        else:
            self._named.append(choice.named)
            profiles = [*(side.profile for side in self.sides), choice.profile]
            self.work(partial(self._change_sides, profiles), group="sides")

    def action_reload(self) -> None:
        """Load again what failed or was cancelled; where nothing did, the side in view, but ask first."""
        lost = [index for index, side in enumerate(self.sides) if side.is_lost]
        for index in lost:
            self.reload(index)
        active = self.active()
        if lost:
            return
        if self.sides[active].is_loading:
            self.notify("Still loading: Esc stops it", markup=False)
        elif self._again.confirmed(("reload", active)):
            self.reload(active)
        else:
            words = f"Ctrl+R again reloads {LETTERS[active]}: its conversation starts over"
            self.notify(words, timeout=CONFIRM_S, markup=False)

    def reload(self, side: int) -> None:
        """Load a side's model again, in a new worker."""
        self._replace(side, self.sides[side].profile)

    def _replace(self, side: int, profile: Profile) -> None:
        self._run_load(side, partial(self.bridge.replace, side, profile))

    def _run_load(self, side: int, load: Callable[[], Coroutine[None, None, None]]) -> None:
        self.work(load, group=f"load-{side}", exclusive=True)

    async def _load_all(self, sides: Sequence[int] | None = None, *, goes_on: bool = False) -> None:
        """Load all, or none yet where they do not fit together."""
        if not await self.bridge.fit_together():
            which = all_of(len(self.panes)).capitalize()
            words = f"{which} models do not fit: one is loaded at a time"
            self.notify(words, severity="warning", markup=False)
            self.show_settings()
        for index in range(len(self.panes)) if sides is None else sides:
            self._run_load(index, partial(self.bridge.load, index, goes_on=goes_on))

    def remove_side(self) -> None:
        """Take the last side away, and end its worker."""
        if len(self.panes) > 2 and not self.is_answering():
            profiles = [side.profile for side in self.sides[:-1]]
            self.work(partial(self._change_sides, profiles), group="sides")

    async def _change_sides(self, profiles: Sequence[Profile]) -> None:
        """As many sides as these; what is new is loaded."""
        before = len(self.panes)
        await self._lay_out(profiles)
        await self.bridge.resize(profiles)
        self.show_settings()
        await self._load_all(range(before, len(profiles)))

    async def _lay_out(self, profiles: Sequence[Profile]) -> None:
        """A pane for each; those that are there stay."""
        self._named = [*self._named, *[""] * len(profiles)][: len(profiles)]
        for pane in self.panes[len(profiles) :]:
            await pane.remove()
        before = len(self.panes)
        await self.query_one("#panes").mount_all(
            [Pane(index, profile) for index, profile in enumerate(profiles) if index >= before]
        )
        self.query_one(SideTabs).sides = tuple(self.sides)
        delta = self.query_one(Delta)
        delta.sides = len(profiles)
        delta.comparisons = tuple(one for one in delta.comparisons if one.side < len(profiles))
        self._activate(min(self.active(), len(profiles) - 1))
        self._wait(self._waiting)
        self._follow_width(len(profiles))
        self.refresh_bindings()  # what those that are left can do

    async def reopen(self, recording: Recording, kept: int, turns: Sequence[int]) -> None:
        """Show a kept duel, load its profiles, and go on with it."""
        if self.is_engaged():
            return
        self.take_edited()
        await self._lay_out(recording.profiles)
        self.query_one(Delta).comparisons = ()
        sides = await self.bridge.reopen(recording, kept, turns)
        self._retell(recording)
        await self._load_all(sides, goes_on=True)

    def _retell(self, recording: Recording) -> None:
        """What was asked and answered, the last turns of it."""
        from engine.duel.comparison import comparisons
        from engine.recordings.figures import divergence_offset
        from engine.recordings.rebuilt import rebuilt

        numbers = range(len(recording.turns))[-MOST_RETOLD:]
        for pane in self.panes:
            pane.wipe()
            if left := len(recording.turns) - len(numbers):
                pane.transcript.note(f"{left} earlier turns are kept, and not shown here")
        duels = rebuilt(recording)
        for number in numbers:
            turn, duel = recording.turns[number], duels[number]
            self.query_one(Delta).comparisons = comparisons(duel)
            for side, pane in enumerate(self.panes):
                answer, offset = duel.answers.get(side), divergence_offset(duel, side)
                pane.retell(turn.prompt, number, answer, offset)
        self.bridge.show_path()

    @property
    def is_on_a_gpu(self) -> bool:
        """Whether one of the loaded models takes a GPU's memory."""
        return any(side.loaded and side.device != "cpu" for side in self.sides)

    async def put_aside(self) -> None:
        """Give the models' memory to long work, until `take_up`."""
        self._aside = True
        await self.bridge.put_aside()

    def take_up(self) -> None:
        """Load again what was put aside."""
        lost = [index for index, side in enumerate(self.sides) if side.is_lost]
        for index in lost if self._aside else ():
            self.reload(index)
        self._aside = False
