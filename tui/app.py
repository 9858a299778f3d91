"""The application: themes, the duel's screen, the commands of the palette, and the way out."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.app import App, SystemCommand
from textual.color import Color
from textual.screen import Screen

from engine.profile import Profile
from tui import theme
from tui.screens.duel import DuelScreen

if TYPE_CHECKING:
    from tui.bridge import Open

CONFIRM_S = 2.0


class QuantDuelApp(App[None]):
    """QuantDuel in a terminal."""

    TITLE = "QuantDuel"
    CSS_PATH = "app.tcss"

    def __init__(self, a: Profile, b: Profile, open_session: "Open | None" = None) -> None:
        super().__init__()
        self.register_theme(theme.DARK)
        self.register_theme(theme.LIGHT)
        self.theme = theme.DARK.name
        self.duel_screen = DuelScreen((a, b), open_session)
        self._asked_to_quit_s = float("-inf")

    def get_default_screen(self) -> Screen[None]:
        """The duel."""
        return self.duel_screen

    def get_css_variables(self) -> dict[str, str]:
        """The theme's, and two of our own: `$quiet` for labels, `$faint` for the empty part of a bar."""
        variables = super().get_css_variables()
        foreground, background = (Color.parse(variables[name]) for name in ("foreground", "background"))
        if foreground.ansi is not None or background.ansi is not None:
            return {**variables, "quiet": "ansi_bright_black", "faint": "ansi_bright_black"}
        quiet, faint = background.blend(foreground, 0.55), background.blend(foreground, 0.2)
        return {**variables, "quiet": quiet.hex, "faint": faint.hex}

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that has a key, and both sides by name."""
        duel = self.duel_screen
        if screen is duel:
            yield SystemCommand("Stop", "Stop both sides (Esc)", duel.action_stop)
            yield SystemCommand("Profile A", "Put another profile on side A (Ctrl+O)", lambda: duel.pick(0))
            yield SystemCommand("Profile B", "Put another profile on side B (Ctrl+O)", lambda: duel.pick(1))
            yield SystemCommand(
                "Turns", "One after the other, or both at once (Ctrl+T)", duel.action_toggle_schedule
            )
            yield SystemCommand("Reload", "Load failed sides again (Ctrl+R)", duel.action_reload)
            yield SystemCommand("Reload A", "Load side A again", lambda: duel.reload(0))
            yield SystemCommand("Reload B", "Load side B again", lambda: duel.reload(1))
            yield SystemCommand("Copy", "Copy the answers (Ctrl+G)", duel.action_copy)
            yield SystemCommand("Clear", "Start new conversations (Ctrl+L)", duel.action_clear)
            yield SystemCommand("Other side", "Turn to the other side (Ctrl+N)", duel.action_other_side)
        yield SystemCommand("Help", "Keys and the meaning of the figures (F1)", self.action_help)
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
        yield SystemCommand("Quit", "End both workers and leave (Ctrl+D)", self.action_quit)

    def action_help(self) -> None:
        """Show keys and definitions."""
        from tui.screens.help import HelpScreen

        self.push_screen(HelpScreen())

    async def action_quit(self) -> None:
        """End the workers, then the application."""
        await self.duel_screen.close()
        self.exit()

    def action_help_quit(self) -> None:
        """Ctrl+C with nothing selected: the second within two seconds quits."""
        now_s = time.monotonic()
        if now_s - self._asked_to_quit_s < CONFIRM_S:
            self.run_worker(self.action_quit())
        else:
            self._asked_to_quit_s = now_s
            self.notify("Ctrl+C again quits; Esc stops the answers", timeout=CONFIRM_S, markup=False)
