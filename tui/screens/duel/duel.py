"""The duel: a pane a side, what the others gain over A, and the prompt. Measures and decides nothing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.worker import Worker

from engine.config.profile import Profile
from engine.duel.sides import LETTERS, all_of
from engine.errors import QuantDuelError
from engine.sanitize import visible
from tui.again import CONFIRM_S, Again
from tui.alerts import Begun, Done
from tui.duel.keys import KEYS, TAB
from tui.duel.messages import AnswerGrew, LoadBegan, LoadEnded, NotKept, SideAsked, SideMessage, TurnEnded
from tui.duel.side import Side
from tui.ending import Work
from tui.launch import NOTHING_CHOSEN, Launch
from tui.launch import Chosen as ChosenForGood
from tui.screens.duel.reading import Reading
from tui.screens.duel.turns import Turns
from tui.screens.page import PromptPage
from tui.widgets.delta import Delta
from tui.widgets.key_bar import KeyBar
from tui.widgets.memory_bars import MemoryBars, scale_of
from tui.widgets.pane import Pane
from tui.widgets.prompt import Prompt, hint
from tui.widgets.side_tabs import SideTabs
from tui.widgets.speed_strip import SpeedStrip
from tui.widgets.top_bar import TopBar
from tui.widgets.transcript import Transcript
from tui.widgets.vitals import Vitals

if TYPE_CHECKING:
    from engine.duel.abilities import Ability
    from engine.recordings.recording import Recording
    from engine.recordings.store import Duels
    from tui.duel.bridge import Bridge, Open
    from tui.screens.settings import Chosen

ABILITIES: dict[str, Ability] = {"lens": "lens", "app.eval": "eval", "app.quantize": "quantize"}
SHORT_FROM, TALL_FROM = 18, 30  # rows
MOST_RETOLD = 20  # turns of a kept duel that are shown when it is gone on with
WAITING = "Sent as soon as {} are loaded; Esc takes it back"
LEAST_PANE = 38  # columns; where one would be narrower they are tabs
TABS_BELOW = 100  # columns, of two
ROOMY_PANE = 100


class DuelScreen(PromptPage[None], Turns, Reading):
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
        self._named = [*launch.named, *[""] * len(profiles)]  # what the sides' profiles were called
        self._profiles = tuple(profiles)
        self._open_session = open_session
        self._bridge: Bridge | None = None
        self._waiting = ""  # a prompt that waits for a model to load
        self._aside = False  # whether long work has the models' memory
        self._turn: Worker[None] | None = None
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

    @property
    def bridge(self) -> Bridge:
        """The engine's side; there from the first picture on."""
        if self._bridge is None:
            raise RuntimeError("the engine starts after the first picture")
        return self._bridge

    @property
    def sides(self) -> list[Side]:
        """What is known of each side."""
        return [pane.side for pane in self.panes]

    @property
    def panes(self) -> list[Pane]:
        """A's, B's, and so on."""
        return list(self.query(Pane))

    # what happened

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

    @on(events.DescendantFocus)
    def _focus_moved(self, event: events.DescendantFocus) -> None:
        """The pane in focus is the one in view."""
        for pane in self.panes:
            if pane in event.widget.ancestors:
                self._activate(pane.index)

    @on(SideTabs.Chosen)
    def _tab_chosen(self, message: SideTabs.Chosen) -> None:
        self._activate(message.index)

    @on(Prompt.Scrolled)
    def _scroll(self, message: Prompt.Scrolled) -> None:
        for pane in self.panes:
            transcript = pane.transcript
            transcript.scroll_relative(
                y=message.direction * max(1, transcript.size.height - 2), animate=False
            )

    # what the user wants

    @on(Prompt.Sent)
    def _sent(self, message: Prompt.Sent) -> None:
        if self.is_asking:
            self.notify("Still answering: Esc stops it", markup=False)
            return
        self._ask(message.text)

    def _ask(self, prompt: str) -> None:
        self.query_one(Prompt).remember(prompt)
        if exchange := self.take_edited():
            self.begin_turn(partial(self.bridge.ask_again, exchange, prompt), prompt)
        else:
            self.begin_turn(partial(self.bridge.ask, prompt), prompt)

    @property
    def is_asking(self) -> bool:
        """Whether a prompt is answered, or waits for a model to load."""
        return self._turn is not None and not self._turn.is_finished

    def begin_turn(self, doing: Work, prompt: str = "") -> None:
        """Have the sides answer; `prompt` is given back where no side takes it."""
        self._wait(prompt)
        self._turn = self.work(doing, group="turn")

    def action_stop(self) -> None:
        """Take a waiting prompt back, or leave one that is edited; otherwise stop all sides."""
        if self.leave_edited():
            return
        if self._waiting and self._turn is not None:
            self._turn.cancel()
            self._take_back("Taken back")
        else:
            self.bridge.cancel()

    def action_pick(self) -> None:
        """Put another profile on the side that is in view."""
        self.pick(self.active())

    def action_settings(self) -> None:
        """Sampling, system message, thinking and schedule of all sides."""
        from tui.screens.settings import SettingsDialog

        def put(chosen: Chosen | None) -> None:
            if chosen is not None:
                self._choose(chosen)

        duel, schedule = self.bridge.duel, self.bridge.asked_schedule
        profiles = [session.profile for session in duel.sessions]
        self.app.push_screen(SettingsDialog(profiles, duel.overrides, schedule), put)

    def action_toggle_schedule(self) -> None:
        """One after the other, all at once, or one loaded at a time; holds from the next prompt on."""
        self.bridge.toggle_schedule()
        self._schedule_changed()

    def _schedule_changed(self) -> None:
        self.post_message(ChosenForGood("defaults.schedule", self.bridge.asked_schedule))
        self.show_settings()
        if self.bridge.schedule != "swap":
            for index, side in enumerate(self.sides):
                if side.state == "not loaded":
                    self._run_load(index, partial(self.bridge.load, index))

    def action_other_side(self) -> None:
        """Turn to the other side, or to the next."""
        self.turn_to((self.active() + 1) % len(self.panes))

    def action_next_pane(self) -> None:
        """The prompt, A, B, and so on; of many also those that are tabs and not in view."""
        active, in_pane = self.active(), isinstance(self.focused, Transcript)
        if in_pane and self._has_tabs and len(self.panes) > 2 and active + 1 < len(self.panes):
            self.turn_to(active + 1)
        else:
            self.focus_next()

    @property
    def _has_tabs(self) -> bool:
        """Whether one pane is in view, and the others are tabs."""
        return self.has_class("-narrow") or self.has_class("-tabs")

    def turn_to(self, index: int) -> None:
        """Turn to this side."""
        in_pane = isinstance(self.focused, Transcript)
        self._activate(index)
        if in_pane or not self._has_tabs:
            self.panes[index].transcript.focus()

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

    def action_blind(self) -> None:
        """Answers without names, and votes on them."""
        if self.bridge.answering:
            self.notify("Still answering: Esc stops it", markup=False)
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
        if self.bridge.answering:
            self.notify("Still answering: Esc stops it", markup=False)
            return
        from engine.duel.lens import on_the_line
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

    def action_clear(self) -> None:
        """New conversations on an empty screen."""
        if self.bridge.answering:
            self.notify("Still answering: Esc stops it", markup=False)
            return
        self.bridge.forget()
        for pane in self.panes:
            pane.wipe()
        self.query_one(Delta).comparisons = ()

    def reload(self, side: int) -> None:
        """Load a side's model again, in a new worker."""
        self._replace(side, self.sides[side].profile)

    @property
    def has_turn(self) -> bool:
        """Whether a prompt is being answered, or waits for a model to load."""
        return self.bridge.answering or bool(self._waiting)

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

    def pick(self, side: int) -> None:
        """Open the picker for a side."""
        from tui.screens.profiles import Choice, ProfilePicker

        def put(choice: Choice | None) -> None:
            if choice is not None:
                self._named[choice.side] = choice.named
                self._replace(choice.side, choice.profile)

        names = [pane.side.profile.name for pane in self.panes]
        self.app.push_screen(ProfilePicker(side, names), put)

    def add_side(self) -> None:
        """Open the picker for one more side."""
        from tui.screens.profiles import Choice, ProfilePicker

        def put(choice: Choice | None) -> None:
            if choice is not None and choice.side < len(self.panes):
                self._named[choice.side] = choice.named
                self._replace(choice.side, choice.profile)
            elif choice is not None:
                self._named.append(choice.named)
                profiles = [*(side.profile for side in self.sides), choice.profile]
                self.work(partial(self._change_sides, profiles), group="sides")

        if not self._is_busy():
            names = [pane.side.profile.name for pane in self.panes]
            self.app.push_screen(ProfilePicker(len(names), [*names, "nothing yet"]), put)

    def remove_side(self) -> None:
        """Take the last side away, and end its worker."""
        if len(self.panes) > 2 and not self._is_busy():
            profiles = [side.profile for side in self.sides[:-1]]
            self.work(partial(self._change_sides, profiles), group="sides")

    def _is_busy(self) -> bool:
        """Whether an answer is under way, which is said."""
        if self.bridge.answering:
            self.notify("Still answering: Esc stops it", markup=False)
        return self.bridge.answering

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
        self.query_one(Delta).sides = len(profiles)
        self.query_one(Delta).comparisons = ()
        self._activate(min(self.active(), len(profiles) - 1))
        self._wait(self._waiting)
        self._follow_width(len(profiles))
        self.refresh_bindings()  # what those that are left can do

    # how

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

    async def reopen(self, recording: Recording, kept: int, turns: Sequence[int]) -> None:
        """Show a kept duel, load its profiles, and go on with it."""
        if self.bridge.answering:
            self.notify("Still answering: Esc stops it", markup=False)
            return
        await self._lay_out(recording.profiles)
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
        for number in numbers:
            turn = recording.turns[number]
            duel = rebuilt(recording, turn)
            self.query_one(Delta).comparisons = comparisons(duel)
            for side, pane in enumerate(self.panes):
                answer, offset = duel.answers.get(side), divergence_offset(duel, side)
                pane.retell(turn.prompt, number, answer, offset)
        self.bridge.show_path()

    async def _load_all(self, sides: Sequence[int] | None = None, *, goes_on: bool = False) -> None:
        """Load all, or none yet where they do not fit together."""
        if not await self.bridge.fit_together():
            which = all_of(len(self.panes)).capitalize()
            words = f"{which} models do not fit: one is loaded at a time"
            self.notify(words, severity="warning", markup=False)
            self.show_settings()
        for index in range(len(self.panes)) if sides is None else sides:
            self._run_load(index, partial(self.bridge.load, index, goes_on=goes_on))

    def _choose(self, chosen: Chosen) -> None:
        """Ask with these settings from the next prompt on."""
        self.bridge.duel.overrides = chosen.overrides
        if chosen.schedule != self.bridge.asked_schedule:
            self.bridge.choose_schedule(chosen.schedule)
            self._schedule_changed()
        self.show_settings()
        if chosen.save:
            self._save_profile()

    def _save_profile(self) -> None:
        """Write what the side in view is asked with into a profile of the user's."""
        from tui.screens.save_profile import SaveProfileDialog

        def tell(file: Path | None) -> None:
            if file is not None:
                self.notify(visible(f"written: {file}"), markup=False, timeout=8)

        active, duel = self.active(), self.bridge.duel
        wanted = duel.overrides.on(duel.sessions[active].profile)
        self.app.push_screen(SaveProfileDialog(wanted, self._named[active] or wanted.name), tell)

    def _replace(self, side: int, profile: Profile) -> None:
        self._run_load(side, partial(self.bridge.replace, side, profile))

    def _run_load(self, side: int, load: Callable[[], Coroutine[None, None, None]]) -> None:
        self.work(load, group=f"load-{side}", exclusive=True)

    def _wait(self, text: str) -> None:
        """Say in the empty prompt what waits for a model to load."""
        self._waiting = text
        loading = any(side.is_loading for side in self.sides)
        sides = len(self.panes)
        waiting = WAITING.format(all_of(sides))
        self.query_one(Prompt).placeholder = Content(waiting if text and loading else hint(sides))

    def _take_back(self, why: str) -> None:
        prompt = self.query_one(Prompt)
        if not prompt.text:
            prompt.give_back(self._waiting)
        self._wait("")
        self.notify(why, markup=False)

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

    def active(self) -> int:
        """The side in view."""
        return next((pane.index for pane in self.panes if pane.has_class("-active")), 0)

    def _activate(self, index: int) -> None:
        for pane in self.panes:
            pane.set_class(pane.index == index, "-active")
        self.query_one(SideTabs).active = self.query_one(Delta).active = index

    def _follow_width(self, sides: int) -> None:
        """Panes side by side from some width on, below it tabs; roomy panes have more next to each other."""
        from_wide = max(TABS_BELOW, LEAST_PANE * sides)
        steps = [(0, "-narrow"), (from_wide, "-wide"), (ROOMY_PANE * sides, "-huge")]
        tabs = [(TABS_BELOW, "-tabs")] if from_wide > TABS_BELOW else []
        self.HORIZONTAL_BREAKPOINTS = [*steps, *tabs]  # of this screen alone
        if self.is_mounted:  # otherwise Textual does it with the first size
            _, shown = max(step for step in self.HORIZONTAL_BREAKPOINTS if step[0] <= self.size.width)
            self.update_classes({name: name == shown for name in ("-narrow", "-tabs", "-wide", "-huge")})

    def show_settings(self) -> None:
        """What is shown above the panes is new."""
        from tui.settings.form import differences  # not before the first picture

        bar = self.query_one(TopBar)
        bar.generation = self.bridge.duel.generation
        bar.schedule = self.bridge.schedule
        bar.sides = len(self.panes)
        bar.history = self.bridge.duel.history
        bar.contended = self.bridge.contended
        profiles = [session.profile for session in self.bridge.duel.sessions]
        bar.differ = ", ".join(differences(profiles, self.bridge.duel.overrides))
