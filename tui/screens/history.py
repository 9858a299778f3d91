"""The kept duels: found by a few words, looked at, reopened, read, renamed, exported, deleted, brought back.

Reads the file in threads; a file that cannot be used is a line. Ends with the duel that is to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.duel.duel import Duel
from engine.duel.sides import LETTERS
from engine.errors import QuantDuelError
from engine.recordings.figures import comparison_lines, remarks
from engine.recordings.keeper import Keeper
from engine.recordings.rebuilt import rebuilt
from engine.recordings.recording import RecordedTurn, Recording
from engine.recordings.store import KeptDuel
from engine.sanitize import visible
from engine.units import speed_text, time_text
from tui.duel.colours import TEXT_COLOURS
from tui.screens.page import Page
from tui.settings.line_input import LineInput
from tui.widgets.key_bar import KeyLine

PREVIEWED_TURNS, PREVIEWED_CHARACTERS = 5, 600
SEARCH_EVERY_S = 0.15


class Reopened(NamedTuple):
    """A kept duel that is to go on."""

    id: int
    recording: Recording
    turns: list[int]
    """Its turns' numbers in the file."""


class HistoryScreen(Page[Reopened | None]):
    """Search, list, preview."""

    CSS_PATH = "history.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (116, "-roomy")]
    BINDINGS = [
        Binding("escape,f4", "dismiss", "Close", priority=True),
        Binding("enter", "reopen", "Reopen", priority=True),
        Binding("ctrl+r", "read", "Read", priority=True),
        Binding("f2", "rename", "Rename", priority=True),
        Binding("ctrl+s", "export", "Export", priority=True),
        Binding("ctrl+x", "delete", "Delete", priority=True),
        Binding("ctrl+z", "undo", "Undo", priority=True),
        Binding("up", "move(-1)", "The duel above", show=False, priority=True),
        Binding("down", "move(1)", "The duel below", show=False, priority=True),
        Binding("pageup", "page(-1)", "Scroll it up", show=False, priority=True),
        Binding("pagedown", "page(1)", "Scroll it down", show=False, priority=True),
        Binding("f1", "app.help", "Help"),
    ]

    def __init__(self, keeper: Keeper, read: Callable[[Recording], None]) -> None:
        super().__init__()
        self.keeper, self.duels = keeper, keeper.duels
        self._show_all = read
        self.shown: list[KeptDuel] = []
        """What the list has."""
        self._listed: str | None = None  # for these words; None while something else is in the file
        self._waiting: list[Callable[[], object]] = []  # what keys do once the list is that of the words
        self._deleted: list[KeptDuel] = []  # the last one last

    def compose(self) -> ComposeResult:
        words = Content.assemble(("quantduel", "bold $foreground"), ("  history of duels", "$quiet"))
        yield Static(words, id="history-bar")
        yield LineInput(placeholder="words of a prompt, an answer, a title or a profile", compact=True)
        with Horizontal(id="history"):
            yield OptionList(compact=True)
            with VerticalScroll(id="preview"):
                yield Static()
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.query_one("#preview").can_focus = False
        self.query_one(Input).focus()
        self._search()

    @property
    def current(self) -> KeptDuel | None:
        """The duel that is marked in the list."""
        place = self.query_one(OptionList).highlighted
        return self.shown[place] if place is not None and place < len(self.shown) else None

    @on(Input.Changed)
    def _changed(self) -> None:
        self._search(wait_s=SEARCH_EVERY_S)

    @on(OptionList.OptionHighlighted)
    def _highlighted(self) -> None:
        self.work(self._preview, group="preview", exclusive=True)

    @on(OptionList.OptionSelected)
    def _selected(self) -> None:
        self.action_reopen()

    def action_move(self, step: int) -> None:
        """Walk through the list while the search keeps the focus."""
        options = self.query_one(OptionList)
        self._once_listed(options.action_cursor_up if step < 0 else options.action_cursor_down)

    def action_page(self, direction: int) -> None:
        """Scroll the preview."""
        preview = self.query_one("#preview")
        preview.scroll_relative(y=direction * max(1, preview.size.height - 2), animate=False)

    def action_reopen(self) -> None:
        """Go on with the duel: its profiles are loaded."""
        self._with_recording(self._reopen)

    def action_read(self) -> None:
        """Look at all of it; nothing is loaded."""
        self._with_recording(self._read)

    def action_export(self) -> None:
        """Write it into a file."""
        self._with_recording(self._ask_for_file)

    def action_rename(self) -> None:
        """Give it another title."""
        self._with_marked(self._ask_for_title)

    def _ask_for_title(self, kept: KeptDuel) -> None:
        from tui.screens.ask import TitleDialog

        def named(title: str | None) -> None:
            if title is not None:
                self._change(partial(self.duels.rename, kept.id, title), kept)

        self.app.push_screen(TitleDialog(kept.title), named)

    def action_delete(self) -> None:
        """Take it from the list; Ctrl+Z brings it back."""
        self._with_marked(self._delete)

    def _delete(self, kept: KeptDuel) -> None:
        self._deleted.append(kept)
        after = self.shown.index(kept) + 1
        following = self.shown[after] if after < len(self.shown) else None
        self._change(partial(self.duels.delete, kept.id), following)
        self.notify(visible(f"Deleted: {kept.title}\nCtrl+Z brings it back"), markup=False)

    def action_undo(self) -> None:
        """Bring back what was deleted last."""
        self.take_down()
        if not self._deleted:
            self.notify("Nothing to bring back", markup=False)
            return
        kept = self._deleted.pop()
        self._change(partial(self.duels.restore, kept.id), kept)

    # how

    def _once_listed(self, act: Callable[[], object]) -> None:
        """Do this as soon as the list is that of the words: keys may come faster than it."""
        self._waiting.append(act)
        self._do_waiting()

    def _do_waiting(self) -> None:
        while self._waiting and self._listed == self.query_one(Input).value:
            self._waiting.pop(0)()

    def _with_marked(self, use: Callable[[KeptDuel], object]) -> None:
        self._once_listed(lambda: use(kept) if (kept := self.current) is not None else None)

    def _search(self, current: KeptDuel | None = None, wait_s: float = 0.0) -> None:
        self.work(partial(self._find, current, wait_s), group="search", exclusive=True)

    async def _find(self, current: KeptDuel | None, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        try:
            await asyncio.to_thread(self.keeper.flush)  # the duel that has just ended is in the list
            words = self.query_one(Input).value
            self.shown = await asyncio.to_thread(self.duels.found, words)
        except QuantDuelError as error:
            self._waiting.clear()
            self._say(error)
            return
        self._list(current)
        self._listed = words
        self._do_waiting()

    def _list(self, current: KeptDuel | None) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(row_content(kept)) for kept in self.shown])
        ids = [kept.id for kept in self.shown]
        options.highlighted = ids.index(current.id) if current and current.id in ids else 0 if ids else None
        if not ids:
            none = (
                "No duel has these words" if self.query_one(Input).value else "None yet: every duel is kept"
            )
            self.query_one("#preview Static", Static).update(Content.assemble((none, "$quiet")))

    async def _preview(self) -> None:
        if (kept := self.current) is None:
            return
        try:
            recording = await asyncio.to_thread(self.duels.get, kept.id)
            content = await asyncio.to_thread(preview_content, recording)
        except QuantDuelError as error:
            content = Content(visible(str(error))).stylize("$text-error")
        self.query_one("#preview Static", Static).update(content)
        self.query_one("#preview").scroll_home(animate=False)

    def _with_recording(self, use: Callable[[Reopened], None]) -> None:
        self._with_marked(lambda kept: self.work(partial(self._use, kept, use), group="use", exclusive=True))

    async def _use(self, kept: KeptDuel, use: Callable[[Reopened], None]) -> None:
        try:
            recording = await asyncio.to_thread(self.duels.get, kept.id)
            turns = await asyncio.to_thread(self.duels.turn_ids, kept.id)
        except QuantDuelError as error:
            self._say(error)
            return
        use(Reopened(kept.id, recording, turns))

    def _reopen(self, kept: Reopened) -> None:
        self.dismiss(kept)

    def _read(self, kept: Reopened) -> None:
        self._show_all(kept.recording)

    def _ask_for_file(self, kept: Reopened) -> None:
        from engine.recordings.export import SUFFIXES, export
        from tui.screens.export import ask_for_file

        ask_for_file(self, f"quantduel-{kept.id}.html", SUFFIXES, partial(export, kept.recording))

    def _change(self, change: Callable[[], None], current: KeptDuel | None) -> None:
        self._listed = None
        self.work(partial(self._do, change, current), group="change")

    async def _do(self, change: Callable[[], None], current: KeptDuel | None) -> None:
        try:
            await asyncio.to_thread(change)
        except QuantDuelError as error:
            self._say(error)
        self._search(current)

    def _say(self, error: QuantDuelError) -> None:
        self.notify(visible(str(error)), severity="error", markup=False)


def row_content(kept: KeptDuel) -> Content:
    """Two lines: the title; its number, when, how many turns, who."""
    names = (visible(name, keep_newlines=False) for name in kept.profiles)
    who = [part for name in zip(names, TEXT_COLOURS, strict=False) for part in (("  ", ""), name)][1:]
    turns = "1 turn" if kept.turns == 1 else f"{kept.turns} turns"
    title = Content.assemble((visible(kept.title, keep_newlines=False), "bold"))
    count = f"{len(kept.profiles)} sides  " if len(kept.profiles) > 2 else ""
    when = (f"{kept.id}  {time_text(kept.last)}  {turns}  {count}", "$quiet")
    return Content("\n").join([title, Content.assemble(when, *who)])


def preview_content(recording: Recording) -> Content:
    """The first turns, shortened."""
    first = replace(recording, turns=recording.turns[:PREVIEWED_TURNS])
    parts = [_turn_content(turn, duel) for turn, duel in zip(first.turns, rebuilt(first), strict=True)]
    more = len(recording.turns) - PREVIEWED_TURNS
    if more > 0:
        parts.append(Content.assemble((f"… and {more} more turns", "$quiet")))
    return Content("\n\n").join(parts)


def _turn_content(turn: RecordedTurn, duel: Duel) -> Content:
    lines = [Content.assemble(("› ", "$quiet"), (_shortened(turn.prompt), "bold"))]
    lines += [_answer_content(duel, side) for side in range(len(duel.sessions))]
    lines += [Content.assemble((line, "$quiet")) for line in comparison_lines(duel)]
    return Content("\n\n").join(lines)


def _answer_content(duel: Duel, side: int) -> Content:
    answer, profile = duel.answers.get(side), duel.sessions[side].profile
    name = visible(profile.name, keep_newlines=False)
    speed = f"   decode {speed_text(answer.metrics.decode_tok_s)}" if answer else ""
    notes = "".join(f"\n{visible(note)}" for note in remarks(answer))
    head = Content.assemble((f"{LETTERS[side]}  {name}", f"bold {TEXT_COLOURS[side]}"), (speed, "$quiet"))
    return (
        head + "\n" + Content(_shortened(answer.text if answer else "")) + Content.assemble((notes, "$quiet"))
    )


def _shortened(text: str) -> str:
    shown = visible(text[:PREVIEWED_CHARACTERS]).strip()
    return shown if len(text) <= PREVIEWED_CHARACTERS else shown + " …"
