"""What the kept blind votes say. Reads the results, counts in a thread, shows, exports."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine import tables
from engine.errors import HistoryError
from engine.results import Results
from engine.sanitize import visible
from engine.votes import leaderboard_text as texts
from engine.votes.leaderboard import Leaderboard, leaderboard
from tui.blind.standings import Standings
from tui.screens.export import ask_for_file
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
            ask_for_file(self, PROPOSED_FILE, list(texts.SUFFIXES), partial(_write, self.board))

    async def _count(self) -> None:
        try:
            board = await asyncio.to_thread(lambda: leaderboard(self._results.turns()))
        except HistoryError as error:
            self.notify(visible(str(error)), severity="warning", markup=False)
            board = leaderboard([])
        self.board = self.query_one(Standings).board = board


def _write(board: Leaderboard, file: Path) -> None:
    tables.write(texts.text(board, texts.format_of(file)), file)
