"""What every part of the duel's screen stands on: its panes and sides, and the engine behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.duel.side import Side
from tui.ending import Ending
from tui.widgets.pane import Pane
from tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from tui.duel.bridge import Bridge

STILL = "Still answering: Esc stops it"


class DuelPart(Ending):
    """Some of the duel's screen."""

    _bridge: Bridge | None = None

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

    def is_answering(self) -> bool:
        """Whether an answer is under way, which is said."""
        if self.bridge.answering:
            self.notify(STILL, markup=False)
        return self.bridge.answering

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
