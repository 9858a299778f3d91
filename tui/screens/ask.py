"""Small questions of the screens of long work: which profiles, which earlier run, which file."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine import paths, tables
from engine.config import user_config
from engine.errors import InputError
from engine.results import Run
from engine.sanitize import visible
from engine.units import time_text
from tui.screens.page import Dialog, list_rows
from tui.screens.profiles import Entry, entry_content, matching, read_entries
from tui.settings.line_input import LineInput


class ProfilesDialog(Dialog[list[str] | None]):
    """Several profiles, in the order in which they are picked."""

    BINDINGS = [
        Binding("escape", "dismiss", "Close"),
        Binding("up", "move(-1)", "The profile above", show=False, priority=True),
        Binding("down", "move(1)", "The profile below", show=False, priority=True),
        Binding("tab", "pick", "Pick", priority=True),
    ]

    def __init__(self, names: Sequence[str], *, only_one: bool = False) -> None:
        super().__init__()
        self._picked = list(names)
        self._only_one = only_one
        self._entries: list[Entry] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Profile" if self._only_one else "Profiles"
            takes = "Enter takes it" if self._only_one else "Tab picks · Enter takes them"
            dialog.border_subtitle = f"{takes} · Esc closes"
            yield LineInput(placeholder="a few letters of a profile's name", compact=True)
            yield OptionList(compact=True)
            yield Static(id="picked")

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self.work(self._fill, group="fill")

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._show(event.value)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        if self._only_one:
            self.action_pick()
        self.dismiss(self._picked)

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self.action_pick()

    def action_move(self, step: int) -> None:
        """Walk through the list while the search keeps the focus."""
        options = self.query_one(OptionList)
        if step < 0:
            options.action_cursor_up()
        else:
            options.action_cursor_down()

    def action_pick(self) -> None:
        """Pick the profile, or leave it out."""
        options = self.query_one(OptionList)
        place = options.highlighted
        if place is None:
            return
        name = options.get_option_at_index(place).id or ""
        if self._only_one:
            self._picked = [name]
        elif name in self._picked:
            self._picked.remove(name)
        else:
            self._picked.append(name)
        self._show(self.query_one(Input).value)
        options.highlighted = place

    async def _fill(self) -> None:
        """The list, as soon as it is read."""
        self._entries = await asyncio.to_thread(read_entries)
        self._show(self.query_one(Input).value)

    def _show(self, query: str) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([self._option(entry) for entry in matching(self._entries, query)])
        options.highlighted = 0 if options.option_count else None
        names = visible("  ".join(self._picked), keep_newlines=False)
        self.query_one("#picked", Static).update(Content.assemble(("picked  ", "$quiet"), names or "none"))

    def _option(self, entry: Entry) -> Option:
        picked = entry.name in self._picked
        place = f"{self._picked.index(entry.name) + 1:>2} " if picked else "   "
        return Option(Content.assemble((place, "bold $text-success"), entry_content(entry)), id=entry.name)


class EarlierChoice(NamedTuple):
    """An earlier run, and whether to compare it with the current one."""

    run: Run
    compare: bool


class EarlierDialog(Dialog[EarlierChoice | None]):
    """The kept runs, the newest first."""

    BINDINGS = [Binding("escape", "dismiss", "Close"), Binding("c", "compare", "Compare")]

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        self._runs = runs

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            list_rows(dialog, max(2, len(self._runs)))
            dialog.border_title = "Earlier runs"
            dialog.border_subtitle = "Enter shows it · c compares it with the current one · Esc closes"
            yield OptionList(*(Option(_run_content(run)) for run in self._runs), compact=True)
            if not self._runs:
                yield Static(Content.assemble(("None yet: every run is kept", "$quiet")))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(EarlierChoice(self._runs[event.option_index], compare=False))

    def action_compare(self) -> None:
        """Compare the run with the current one."""
        place = self.query_one(OptionList).highlighted
        if place is not None:
            self.dismiss(EarlierChoice(self._runs[place], compare=True))


class SaveDialog(Dialog[Path | None]):
    """A file's name; its end says the format."""

    BINDINGS = [Binding("escape", "dismiss", "Close")]
    _asked: Path | None = None  # about replacing this file

    def __init__(self, proposal: str, suffixes: Sequence[str]) -> None:
        super().__init__()
        self._proposal = str(Path(user_config.read().folders.exports) / proposal)
        self._suffixes = suffixes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Export"
            dialog.border_subtitle = "Enter writes it · Esc closes"
            yield LineInput(self._proposal, compact=True, select_on_focus=False)
            yield Static(Content.styled(self._ends, "$quiet"), id="hint")

    @property
    def _ends(self) -> str:
        return f"the name ends in {' or '.join(self._suffixes)}"

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        try:
            file = tables.require_free(paths.expanded(text), replace=True) if text else None
        except InputError as error:
            self._say(str(error))
            return
        if file is not None and file.suffix.lower() not in self._suffixes:
            self._say(f"Nothing is written: {self._ends}")
        elif file is not None and file.exists() and file != self._asked:
            self._asked = file
            self._say(f"{file} exists already: Enter again replaces it")
        else:
            self.dismiss(file)

    def _say(self, words: str) -> None:
        self.query_one("#hint", Static).update(Content(visible(words)).stylize("$text-error"))


class TitleDialog(Dialog[str | None]):
    """A kept duel's title; an empty one is its first prompt again."""

    BINDINGS = [Binding("escape", "dismiss", "Close")]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Rename"
            dialog.border_subtitle = "Enter takes it · empty: its first prompt · Esc closes"
            yield LineInput(visible(self._title, keep_newlines=False), compact=True)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


def _run_content(run: Run) -> Content:
    return Content.assemble(
        (visible(time_text(run.created), keep_newlines=False) + "  ", "$quiet"),
        visible(run.title, keep_newlines=False),
    )
