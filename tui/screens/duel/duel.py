"""The duel: a pane a side, what the others gain over A, and the prompt. Measures and decides nothing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal

from engine.config.profile import Profile
from engine.duel.sides import all_of
from engine.errors import QuantDuelError
from engine.sanitize import visible
from tui.again import Again
from tui.alerts import Begun, Done
from tui.duel.keys import KEYS, TAB
from tui.duel.messages import AnswerGrew, LoadBegan, LoadEnded, NotKept, SideAsked, SideMessage, TurnEnded
from tui.launch import NOTHING_CHOSEN, Launch
from tui.screens.duel.reading import Reading
from tui.screens.duel.settings import Settings
from tui.screens.duel.turns import Turns
from tui.screens.page import PromptPage
from tui.widgets.delta import Delta
from tui.widgets.key_bar import KeyBar
from tui.widgets.memory_bars import MemoryBars, scale_of
from tui.widgets.pane import Pane
from tui.widgets.prompt import Prompt
from tui.widgets.side_tabs import SideTabs
from tui.widgets.speed_strip import SpeedStrip
from tui.widgets.top_bar import TopBar
from tui.widgets.vitals import Vitals

if TYPE_CHECKING:
    from engine.duel.abilities import Ability
    from engine.recordings.recording import Recording
    from engine.recordings.store import Duels
    from tui.duel.bridge import Bridge
    from tui.duel.loads import Open

ABILITIES: dict[str, Ability] = {"lens": "lens", "app.eval": "eval", "app.quantize": "quantize"}
SHORT_FROM, TALL_FROM = 18, 30  # rows


class DuelScreen(PromptPage[None], Turns, Reading, Settings):
    """One prompt, an answer of each side."""

    plays_recording = False
    """Whether nothing is asked or loaded here."""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (200, "-huge")]
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (SHORT_FROM, "-short"), (TALL_FROM, "-tall")]
    BINDINGS = [*KEYS, TAB]

    def __init__(
        self,
        profiles: Sequence[Profile],
        open_session: Open | None = None,
        launch: Launch = NOTHING_CHOSEN,
        duels: Duels | None = None,
    ) -> None:
        super().__init__()
        self.duels = duels
        """The kept ones; None is the user's file."""
        self._launch = launch
        self._named = [*launch.named, *[""] * len(profiles)]
        self._profiles = tuple(profiles)
        self._open_session = open_session
        self._again = Again()
        self._follow_width(len(profiles))

    def compose(self) -> ComposeResult:
        panes = [Pane(index, profile) for index, profile in enumerate(self._profiles)]
        panes[0].add_class("-active")
        yield TopBar()
        yield Vitals()
        yield SideTabs([pane.side for pane in panes])
        with Horizontal(id="panes"):
            yield from panes
        delta = Delta()
        delta.sides = len(panes)
        yield delta
        yield Prompt(len(panes))
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(Prompt).focus()
        self.call_after_refresh(self._start)

    async def on_unmount(self) -> None:
        await self.close()

    async def close(self) -> None:
        """End the workers."""
        if self._bridge is not None:
            await self._bridge.close()

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """What the sides begin with."""
        return self._profiles

    @on(SideMessage)
    def _take(self, message: SideMessage) -> None:
        if message.side >= len(self.panes):
            return  # it was taken away meanwhile
        if isinstance(message, SideAsked):
            self._wait("")
            self.show_view("folded")
            self.query_one(Delta).comparisons = ()
        self.panes[message.side].take(message)
        self._tell_progress(message)
        if not isinstance(message, AnswerGrew):
            self.show_settings()

    def _tell_progress(self, message: SideMessage) -> None:
        """The end of long work is announced, also to those who look elsewhere."""
        if isinstance(message, LoadBegan) and not message.within_turn:
            self.post_message(Begun("loading"))
        elif isinstance(message, LoadEnded) and not any(side.is_loading for side in self.sides):
            self.refresh_bindings()  # what the sides can is known now
            words = "a model could not be loaded" if any(side.is_lost for side in self.sides) else "loaded"
            self.post_message(Done("loading", words))
        elif isinstance(message, SideAsked):
            self.post_message(Begun("answering"))

    @on(Pane.FiguresShown)
    def _show_both(self) -> None:
        """What depends on all sides: the tabs, and the common scales of memory and speed."""
        speeds = [speed for side in self.sides if side.figures for speed in side.figures.speeds_tok_s]
        for strip in self.query(SpeedStrip):
            strip.top_tok_s = max(speeds, default=0.0)
        scale = scale_of([side.memory for side in self.sides])
        for bars in self.query(MemoryBars):
            bars.scale_bytes = scale
        self.query_one(SideTabs).refresh()

    @on(TurnEnded)
    def _turn_ended(self, message: TurnEnded) -> None:
        from engine.duel.comparison import divergence_offsets

        self.post_message(Done("answering", f"{all_of(len(self.panes))} have answered"))
        self.query_one(Delta).comparisons = message.comparisons
        for side, offset in divergence_offsets(message.comparisons).items():
            self.panes[side].transcript.mark(offset)
        if self._waiting:  # no side was there to take it
            self._take_back("No model is loaded: Ctrl+R loads again, Ctrl+O picks another")

    @on(NotKept)
    def _not_kept(self, message: NotKept) -> None:
        """The answers go on."""
        self.notify(visible(str(message.error)), title="Not kept", severity="warning", markup=False)

    def action_blind(self) -> None:
        """Answers without names, and votes on them."""
        if self.is_engaged():
            return
        from tui.screens.blind import BlindScreen

        def left(why: str | None) -> None:
            if why:
                self.notify(visible(why), severity="warning", markup=False)

        self.app.push_screen(BlindScreen(self.bridge), left)

    def action_lens(self) -> None:
        """A's view and that of the side in view of every token of their last answers."""
        if self.is_impossible("lens"):
            return
        if self.is_engaged():
            return
        from engine.duel.looking import on_the_line
        from tui.screens.lens import LensScreen

        self.bridge.choose_for_lens(self.active())
        other = self.bridge.duel.lens_side
        pair, line = (self.sides[0], self.sides[other]), on_the_line(self.bridge.duel)
        names, labels = [side.profile.name for side in pair], [side.label for side in pair]
        screen = LensScreen(self.bridge.look, (names[0], names[1]), (labels[0], labels[1]), line, other)
        self.app.push_screen(screen)

    def why_not(self, action: str) -> str:
        """Why the sides as they are do not allow it; empty where they do."""
        ability = ABILITIES.get(action)
        if ability is None or not any(side.info and side.info.served for side in self.sides):
            return ""
        from engine.duel.abilities import why_not

        sides = self.sides
        return why_not(ability, [side.profile for side in sides], [side.info for side in sides])

    def is_impossible(self, action: str) -> bool:
        """Whether the sides do not allow it, which is said in a line."""
        if why := self.why_not(action):
            self.notify(visible(why), severity="warning", markup=False)
        return bool(why)

    async def action_export(self) -> None:
        """Write the duel on the screen into a file."""
        from engine.recordings.export import SUFFIXES, export
        from tui.screens.export import ask_for_file, stamped

        if (recording := await self._recording()) is not None:
            ask_for_file(self, stamped("", ".html"), SUFFIXES, partial(export, recording))

    def _start(self) -> None:
        """Start the engine, once the first picture is on the screen."""
        gc.enable()  # what starts the program may have switched it off until here
        self._bridge = self.open_bridge()
        self.show_settings()
        self.work(self._load_all, group="load")
        if self._launch.prompt.strip():
            self._ask(self._launch.prompt)

    def open_bridge(self) -> Bridge:
        """The engine's side, for this screen."""
        from tui.duel.bridge import Bridge

        open_session = self._open_session
        return Bridge(self._profiles, self.post_message, open_session, self._launch, self.duels)

    async def _recording(self) -> Recording | None:
        """The duel on the screen; None, which is reported, where there is none."""
        try:
            recording = await asyncio.to_thread(self.bridge.keeper.recording)
        except QuantDuelError as error:
            self.notify(visible(str(error)), severity="error", markup=False)
            return None
        if recording is None:
            self.notify("Nothing to export yet", markup=False)
        return recording
