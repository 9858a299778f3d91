"""Writes what a side is asked with into a profile of the user's; asks before it replaces one."""

from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from engine import paths
from engine.config import profiles
from engine.config.profile import Profile
from engine.config.profiles import saving
from engine.errors import InputError
from engine.sanitize import visible
from tui.screens.page import Dialog
from tui.settings.line_input import LineInput


class SaveProfileDialog(Dialog[Path | None]):
    """A profile's name, or a file's; ends with the file that was written."""

    BINDINGS = [Binding("escape", "dismiss", "Close")]
    _asked: Path | None = None  # about replacing this file

    def __init__(self, wanted: Profile, named: str) -> None:
        super().__init__()
        self._wanted = wanted
        self._base = profiles.file_of(named) if named else None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Save into a profile"
            dialog.border_subtitle = "Enter writes it · Esc closes"
            yield LineInput(self._proposal, compact=True, select_on_focus=False)
            words = f"a name is one of {paths.user_profiles()}; a path is a file"
            yield Static(Content.styled(visible(words), "$quiet"), id="hint")

    @property
    def _proposal(self) -> str:
        """The profile's own file where it is the user's; else its name, for a copy."""
        file, shipped = self._base, paths.shipped_profiles()
        is_own = file is not None and file.parent.resolve() not in {shipped, paths.user_profiles().resolve()}
        return str(file) if is_own else self._wanted.name.removesuffix(".gguf")

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        try:
            file = saving.place(event.value)
            if file.exists() and file != self._asked:
                self._asked = file
                self._say(f"{file} exists already: Enter again replaces it")
                return
            saving.save(self._wanted, self._base, file)
        except InputError as error:
            self._say(str(error))
            return
        self.dismiss(file)

    def _say(self, words: str) -> None:
        self.query_one("#hint", Static).update(Content(visible(words)).stylize("$text-error"))
