"""A test on the screen: the figures of `quantduel test`, and each question with both answers side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import DataTable

from engine.testing.report import Report
from tui.jobs.job import typed
from tui.jobs.test import QuestionsJob, lines, listed
from tui.questions.side_by_side import SideBySide
from tui.screens.jobs.run import RunScreen
from tui.widgets.figure_table import FigureTable

if TYPE_CHECKING:
    from tui.screens.duel.duel import DuelScreen
NO_QUESTION = "no question here yet"
NO_FLIP = "no question here: only flips are listed, and none is there. Ctrl+F lists all questions"


class QuestionsScreen(RunScreen):
    """Profiles and a set of questions."""

    BINDINGS = [
        Binding("ctrl+t", "turn_over", "Answers", priority=True),
        Binding("ctrl+f", "flips", "Flips", priority=True),
        Binding("ctrl+n", "other", "Other", priority=True),
    ]
    job: QuestionsJob

    def __init__(self, duel: DuelScreen, job: QuestionsJob | None = None) -> None:
        super().__init__(job or QuestionsJob([typed(side.profile) for side in duel.sides]), duel)
        self._flips = False
        self._side = 1
        """Whose answer stands next to A's."""

    def details(self) -> ComposeResult:
        questions = FigureTable()
        questions.id = "questions"
        yield questions
        yield SideBySide()

    def action_turn_over(self) -> None:
        """The answers instead of the figures, and back, where there is no room for both."""
        super().action_turn_over()
        self.query_one("#questions").focus()

    def action_flips(self) -> None:
        """List flips alone, or everything."""
        self._flips = not self._flips
        self.show_results()

    def action_other(self) -> None:
        """The next model's answer next to A's."""
        report = self.job.report
        self._side = self._side % (len(report.rows) - 1) + 1 if report else 1
        self.show_results()

    def show_results(self) -> None:
        super().show_results()
        report = self.job.report
        if report is None:
            return
        self._side = min(self._side, len(report.rows) - 1)
        table = self.query_one("#questions", FigureTable)
        table.show(lines(report, table.size.width, flips=self._flips), {}, {})
        self._show_answers(report)

    def on_resize(self) -> None:
        """The list has more space, or less."""
        self.call_after_refresh(self.show_results)

    @on(DataTable.RowHighlighted, "#questions")
    def _chosen(self) -> None:
        if report := self.job.report:
            self._show_answers(report)

    def _show_answers(self, report: Report) -> None:
        entries = listed(report, flips=self._flips)
        place = self.query_one("#questions", FigureTable).cursor_row
        entry = entries[place] if 0 <= place < len(entries) else None
        self.query_one(SideBySide).show(report, entry, self._side, NO_FLIP if self._flips else NO_QUESTION)
