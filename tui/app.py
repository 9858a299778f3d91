"""The application: themes, the duel's screen, the commands of the palette, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.color import Color
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.filter import LineFilter
from textual.geometry import Size
from textual.screen import Screen
from textual.theme import Theme

from engine import paths
from engine.config import strict_yaml
from engine.config.faults import nearest
from engine.config.profile import Profile
from engine.duel.sides import LETTERS, MOST_SIDES
from engine.errors import InputError, ProfileError
from engine.sanitize import visible
from tui import theme as themes
from tui.again import CONFIRM_S, Again
from tui.alerts import Alerts, Begun, Done
from tui.duel.colours import ANSI, side_colours
from tui.launch import NOTHING_CHOSEN, Chosen, Launch
from tui.line_filter import Harmless
from tui.output.driver import LowBandwidthDriver, SparingDriver
from tui.own_keys import caught_up
from tui.screens.duel.duel import DuelScreen
from tui.screens.page import Page, PromptPage
from tui.widgets.transcript import BY_HALVES

if TYPE_CHECKING:
    from engine.recordings.recording import Recording
    from engine.recordings.store import Duels
    from tui.duel.loads import Open
    from tui.output.colours import Palette
    from tui.screens.jobs.run import RunScreen

SMALLEST = Size(8, 4)  # what is laid out; a terminal smaller than that shows a corner of it
LARGEST = Size(1000, 500)  # a larger one, or one that says so, is filled no further
REMARK_S = 12
HARMLESS = Harmless()
PALETTES: dict[str, Palette] = {"256": "256", "standard": "16"}  # by what Rich says of a terminal


class QuantDuelApp(App[None]):
    """QuantDuel in a terminal."""

    TITLE = "QuantDuel"
    TYPED = (("^p", "every command by name"),)
    BINDINGS = [
        Binding("ctrl+q", "quit", tooltip="end all workers and leave", show=False, priority=True),
        Binding(
            "ctrl+z",
            "suspend_process",
            tooltip="back to the shell, where `fg` goes on; models go on meanwhile",
            show=False,
            priority=True,
        ),
    ]
    CSS_PATH = "app.tcss"

    def __init__(
        self,
        a: Profile,
        b: Profile,
        open_session: Open | None = None,
        *,
        launch: Launch = NOTHING_CHOSEN,
        duels: Duels | None = None,
    ) -> None:
        self._low_bandwidth = launch.low_bandwidth  # the driver is chosen in Textual's __init__
        super().__init__()
        if launch.low_bandwidth:
            self.animation_level = "none"
            self.add_class(BY_HALVES)
        self.register_theme(themes.DARK)
        self.register_theme(themes.LIGHT)
        self.theme = themes.DARK.name
        self._variables = self.get_css_variables()
        self.stylesheet.set_variables(self._variables)
        self.duel_screen = DuelScreen((a, b, *launch.more), open_session, launch, duels)
        self._again = Again()
        self._launch = launch
        self.alerts = Alerts(launch.config.alerts, self._tell_terminal)
        self._work_screens: dict[str, RunScreen] = {}

    def get_driver_class(self) -> type[Driver]:
        """Textual's; where that is a terminal's, the one that writes only what changes."""
        found = super().get_driver_class()
        if found is not LinuxDriver:
            return found
        return LowBandwidthDriver if self._low_bandwidth else SparingDriver

    def get_default_screen(self) -> Screen[None]:
        """The duel; at a first start what explains it."""
        if not self._launch.explains:
            return self.duel_screen
        from tui.screens.welcome import WelcomeScreen

        return WelcomeScreen(self.duel_screen.profiles, self._begin)

    def _begin(self, how: str) -> None:
        """From the first start's screen: the demo, the duel, or the duel with the list of profiles."""
        if how == "demo":
            from engine.recordings.recording import shipped

            self.read(shipped(), speed=1.0)
            return
        self.push_screen(self.duel_screen)
        if how == "pick":
            self.duel_screen.call_after_refresh(self.duel_screen.pick, 0)

    def configure(self, theme: str) -> None:
        """As the user's settings have it; InputError where they name what there is not."""
        config = self._launch.config
        if config.keymap:
            from tui.screens import key_names

            key_names.check(config.keymap, paths.user_config())
            self.set_keymap(config.keymap)
        if theme:
            self.choose_theme(theme)
        elif config.theme and config.theme not in self.available_themes:
            file, hint = paths.user_config(), nearest(config.theme, self.available_themes)
            line = strict_yaml.line_of(file, "theme")
            raise ProfileError(file, f"no theme named {config.theme!r}", line=line, key="theme", hint=hint)
        elif config.theme:
            self.theme = config.theme

    def choose_theme(self, name: str) -> None:
        """Wear these colours; InputError where there are none of that name."""
        if name not in self.available_themes:
            hint = nearest(name, self.available_themes) or "known: " + ", ".join(self.available_themes)
            raise InputError(f"no theme named {name!r}", hint)
        self.theme = name

    def on_ready(self) -> None:
        """Say what the user should know of the names he gave."""
        for remark in self._launch.remarks:
            self.notify(visible(remark), severity="warning", markup=False, timeout=REMARK_S)
        self.theme_changed_signal.subscribe(self, self._keep_theme)
        self.alerts.enter()

    @on(Begun)
    def _begun(self, message: Begun) -> None:
        self.alerts.begin(message.what)

    @on(Done)
    def _done(self, message: Done) -> None:
        self.alerts.end(message.what, message.words)

    def _tell_terminal(self, sequence: str) -> None:
        if self._driver is not None:
            self._driver.write(sequence)
            self._driver.flush()

    def _keep_theme(self, theme: Theme) -> None:
        self.keep(Chosen("theme", theme.name))

    @on(Chosen)
    def keep(self, chosen: Chosen) -> None:
        """Have the user's settings say this from now on."""
        try:
            self._launch.keep(chosen.key, chosen.value)
        except InputError as error:
            self.notify(visible(str(error)), title="Not kept", severity="warning", markup=False)

    async def on_event(self, event: events.Event) -> None:
        """Before an event is handed on: typed text finds its way, so that none overtakes another."""
        if isinstance(event, events.Resize):
            event.size = within(event.size, SMALLEST, LARGEST)
        shown = self.screen_stack[-1:]  # none where the application was left meanwhile
        if shown and isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            if isinstance(shown[0], PromptPage):
                shown[0].typed(event)
            if isinstance(event, events.Key) and not event.is_printable and self.focused is not None:
                await caught_up(self.focused)
        if isinstance(event, events.InputEvent | events.Paste) and not self.screen_stack:
            return
        await super().on_event(event)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's, one for few colours, and one that lets nothing through that acts on a terminal."""
        return [*super().get_line_filters(), *self._few_colours(), HARMLESS]

    def refresh_css(self, animate: bool = True) -> None:
        """Textual asks for it at the start as well, where the styles are what they should be already."""
        before, self._variables = self._variables, self.get_css_variables()
        if self._variables != before:
            super().refresh_css(animate)

    @contextmanager
    def batch_update(self) -> Generator[None]:
        """Nothing is painted within; afterwards what changed is, also where nothing else happens any more."""
        with super().batch_update():
            yield
        if self.screen_stack:
            self.screen.check_idle()  # Textual's own end wakes the application, not the screen

    def _few_colours(self) -> Sequence[LineFilter]:
        palette: Palette | None = PALETTES.get(self.console.color_system or "")
        if self.no_color:
            palette = "none"
        elif palette is None and self._low_bandwidth:
            palette = "256"  # half the bytes
        if palette is None:
            return []
        from tui.output.colours import few_colours

        return [few_colours(palette, dark=self.current_theme.dark)]

    def get_css_variables(self) -> dict[str, str]:
        """The theme's, and our own: `$quiet` for labels, `$faint` for a bar's empty part, sides' colours.

        Quiet text is read as well as any other: 4.5 to 1 on `$panel`. So is what cannot be chosen.
        """
        variables = super().get_css_variables()
        foreground, background = (Color.parse(variables[name]) for name in ("foreground", "background"))
        if foreground.ansi is not None or background.ansi is not None:
            return {**variables, **ANSI, "quiet": "ansi_bright_black", "faint": "ansi_bright_black"}
        share = 0.61 if self.current_theme.dark else 0.68
        quiet, faint = background.blend(foreground, share), background.blend(foreground, 0.2)
        own = {"quiet": quiet.hex, "text-disabled": quiet.hex, "faint": faint.hex}
        return {**variables, **side_colours(background), **own}

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that has a key on this screen, and some things that have none."""
        from tui.active import commands_of, without_twins

        yield from without_twins([*commands_of(screen), *self._keyless_commands(screen)])

    def _keyless_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        from tui.screens.export import screenshot

        if screen is self.duel_screen and not self.duel_screen.plays_recording:
            yield from self._side_commands()
        yield SystemCommand("Leaderboard", "What the blind votes say", self.action_leaderboard)
        yield SystemCommand("Help", "Keys and the meaning of the figures", self.action_help)
        yield SystemCommand("Screenshot", "What is seen, as an SVG picture", partial(screenshot, screen))
        yield SystemCommand("Redraw", "Paint all of the screen again", self.action_redraw)
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)

    def _side_commands(self) -> Iterable[SystemCommand]:
        """What is done with one side, by its letter."""
        duel = self.duel_screen
        for side in range(len(duel.panes)):
            letter = LETTERS[side]
            pick, reload = partial(duel.pick, side), partial(duel.reload, side)
            yield SystemCommand(f"Profile {letter}", f"Put another profile on side {letter} (Ctrl+O)", pick)
            yield SystemCommand(f"Reload {letter}", f"Load side {letter} again", reload)
            yield SystemCommand(f"Side {letter}", f"Turn to side {letter}", partial(duel.turn_to, side))
        if len(duel.panes) < MOST_SIDES:
            letter = LETTERS[len(duel.panes)]
            yield SystemCommand(f"Add {letter}", f"One more profile, on side {letter}", duel.add_side)
        if len(duel.panes) > 2:
            letter = LETTERS[len(duel.panes) - 1]
            yield SystemCommand(f"Remove {letter}", f"End side {letter} and its model", duel.remove_side)

    def action_redraw(self) -> None:
        """Paint all of it: something else has written to the terminal."""
        if isinstance(self._driver, SparingDriver):
            self._driver.redraw()

    def action_kept_duels(self) -> None:
        """The kept duels: one of them goes on, or is read without a model."""
        from tui.screens.history import HistoryScreen, Reopened

        duel = self.duel_screen

        def chosen(kept: Reopened | None) -> None:
            if kept is not None:
                duel.work(partial(duel.reopen, kept.recording, kept.id, kept.turns), group="reopen")

        self.push_screen(HistoryScreen(duel.bridge.keeper, self.read), chosen)

    def read(self, recording: Recording, speed: float = 0.0) -> None:
        """Show a recording over what is shown; all of it at once, or at this speed."""
        from tui.screens.replay import ReplayScreen

        self.push_screen(ReplayScreen(recording, speed))

    def action_help(self) -> None:
        """Show keys and definitions."""
        from tui.active import keys_of
        from tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(keys_of(self.screen)))

    def action_bench(self) -> None:
        """Measure speed and memory over context lengths."""
        from tui.screens.jobs.bench import BenchScreen

        self._show_work("bench", BenchScreen)

    def action_eval(self) -> None:
        """Measure how far profiles are from a reference, on a text."""
        from tui.screens.jobs.eval import EvalScreen

        self._show_work("eval", EvalScreen)

    def action_test(self) -> None:
        """Ask profiles questions with checkable answers."""
        from tui.screens.jobs.test import QuestionsScreen

        self._show_work("test", QuestionsScreen)

    def action_quantize(self) -> None:
        """Make a profile's checkpoint now."""
        from tui.screens.jobs.quantize import QuantizeScreen

        self._show_work("quantize", QuantizeScreen)

    def _show_work(self, name: str, make: Callable[[DuelScreen], RunScreen]) -> None:
        """Show a screen of long work; it stays as it was left."""
        if self.duel_screen.is_impossible(f"app.{name}"):
            return
        if name not in self._work_screens:
            self._work_screens[name] = make(self.duel_screen)
            self.install_screen(self._work_screens[name], name)
        self.push_screen(name)

    def action_leaderboard(self) -> None:
        """Show what the blind votes say."""
        from tui.screens.leaderboard import LeaderboardScreen

        self.push_screen(LeaderboardScreen())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A screen with a Ctrl+Z of its own keeps it."""
        if action == "suspend_process" and "ctrl+z" in self.screen._bindings.key_to_bindings:
            return False
        return super().check_action(action, parameters)

    def action_suspend_process(self) -> None:
        """Back to the shell, where there is one; the workers go on."""
        if self._driver is not None and self._driver.can_suspend:
            super().action_suspend_process()
        else:
            self.notify("There is no shell here to go back to", severity="warning", markup=False)

    async def action_quit(self) -> None:
        """End the workers, then the application."""
        shown = [screen for screen in self.screen_stack if isinstance(screen, Page)]
        for screen in {*self._work_screens.values(), *shown}:
            await screen.stop()
        await self.duel_screen.close()
        self.alerts.leave()
        self.exit()
        self.workers.cancel_all()  # nothing can be shown any more

    def action_help_quit(self) -> None:
        """Ctrl+C with nothing selected: the second within two seconds quits."""
        if self._again.confirmed("quit"):
            self.run_worker(self.action_quit, group="quit")  # type: ignore[arg-type]
        else:
            stops = "; Esc stops the answers" if self.screen is self.duel_screen else ""
            self.screen.notify(f"Ctrl+C again quits{stops}", timeout=CONFIRM_S, markup=False)


def within(size: Size, smallest: Size, largest: Size) -> Size:
    """The size, no side of it smaller or larger than these."""
    width, height = (min(max(n, least), most) for n, least, most in zip(size, smallest, largest, strict=True))
    return Size(width, height)
