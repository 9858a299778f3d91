"""Which side is in view, and how many at once. A part of the duel's screen."""

from __future__ import annotations

from textual import events, on

from tui.screens.duel.part import DuelPart
from tui.widgets.delta import Delta
from tui.widgets.prompt import Prompt
from tui.widgets.side_tabs import SideTabs
from tui.widgets.transcript import Transcript

LEAST_PANE = 38  # columns; where one would be narrower they are tabs
TABS_BELOW = 100  # columns, of two
ROOMY_PANE = 100


class InView(DuelPart):
    """Panes next to each other, or tabs."""

    def active(self) -> int:
        """The side in view."""
        return next((pane.index for pane in self.panes if pane.has_class("-active")), 0)

    def turn_to(self, index: int) -> None:
        """Turn to this side."""
        in_pane = isinstance(self.screen.focused, Transcript)
        self._activate(index)
        if in_pane or not self._has_tabs:
            self.panes[index].transcript.focus()

    def action_other_side(self) -> None:
        """Turn to the other side, or to the next."""
        self.turn_to((self.active() + 1) % len(self.panes))

    def action_next_pane(self) -> None:
        """The prompt, A, B, and so on; of many also those that are tabs and not in view."""
        active, in_pane = self.active(), isinstance(self.screen.focused, Transcript)
        if in_pane and self._has_tabs and len(self.panes) > 2 and active + 1 < len(self.panes):
            self.turn_to(active + 1)
        else:
            self.screen.focus_next()

    @property
    def _has_tabs(self) -> bool:
        """Whether one pane is in view, and the others are tabs."""
        return self.has_class("-narrow") or self.has_class("-tabs")

    def _activate(self, index: int) -> None:
        for pane in self.panes:
            pane.set_class(pane.index == index, "-active")
        self.query_one(SideTabs).active = self.query_one(Delta).active = index

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

    def _follow_width(self, sides: int) -> None:
        """Panes side by side from some width on, below it tabs; roomy panes have more next to each other."""
        from_wide = max(TABS_BELOW, LEAST_PANE * sides)
        steps = [(0, "-narrow"), (from_wide, "-wide"), (ROOMY_PANE * sides, "-huge")]
        tabs = [(TABS_BELOW, "-tabs")] if from_wide > TABS_BELOW else []
        self.HORIZONTAL_BREAKPOINTS = [*steps, *tabs]  # of this screen alone
        if self.is_mounted:  # otherwise Textual does it with the first size
            _, shown = max(step for step in self.HORIZONTAL_BREAKPOINTS if step[0] <= self.size.width)
            self.update_classes({name: name == shown for name in ("-narrow", "-tabs", "-wide", "-huge")})
