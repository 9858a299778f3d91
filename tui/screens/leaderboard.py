"""What the kept blind votes say. Reads the results, counts in a thread, shows, exports."""

from __future__ import annotations

import asyncio
from pathlib import Path

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine import tables
from engine.errors import HistoryError, InputError
from engine.results import Results
from engine.sanitize import visible
from engine.votes import leaderboard_text as texts
from engine.votes.leaderboard import Leaderboard, leaderboard
from tui.blind.standings import Standings
from tui.screens.ask import SaveDialog
from tui.screens.page import Page
from tui.widgets.key_bar import KeyLine

PROPOSED_FILE = "leaderboard.json"


class LeaderboardScreen(Page[None]):
    """Standings, pairs, and the turns that do not count."""

    DEFAULT_CSS = "#board-bar { height: 1; padding: 0 1; }"
    BINDINGS = [
        Binding("escape,f7,q", "dismiss", "Close"),
        Binding("e", "export", "Export"),
        Binding("r", "count", "Count again"),
        Binding("f1,question_mark", "app.help", "Help"),
    ]

    def __init__(self, results: Results | None = None) -> None:
        super().__init__()
        self.board: Leaderboard | None = None
        """What is shown; None before it is counted."""
        self._results = results or Results()

    def compose(self) -> ComposeResult:
        heading = Content.assemble(
            ("quantduel", "bold $foreground"), ("  leaderboard of blind votes", "$quiet")
        )
        yield Static(heading, id="board-bar")
        with VerticalScroll():
            yield Standings()
        yield KeyLine()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        self.action_count()

    def action_count(self) -> None:
        """Read the votes again and count them."""
        self.work(self._count, exclusive=True)

    def action_export(self) -> None:
        """Write what is shown into a file."""
        if self.board is not None:
            self.app.push_screen(SaveDialog(PROPOSED_FILE, list(texts.SUFFIXES)), self._write)

    async def _count(self) -> None:
        try:
            board = await asyncio.to_thread(lambda: leaderboard(self._results.turns()))
        except HistoryError as error:
            self.notify(visible(str(error)), severity="warning", markup=False)
            board = leaderboard([])
        self.board = self.query_one(Standings).board = board

    def _write(self, file: Path | None) -> None:
        if file is None or self.board is None:
            return
        try:
            tables.write(texts.text(self.board, texts.format_of(file)), file)
        except InputError as error:
            self.notify(visible(str(error)), severity="error", markup=False)
        else:
            self.notify(visible(f"Written: {file}"), markup=False)
