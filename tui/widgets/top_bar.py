"""The first line: who we are, how the sides take turns, and with what settings they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.config.profile import Generation
from engine.duel.sides import all_of
from tui.widgets.fitting import fitting

if TYPE_CHECKING:
    from engine.session.schedule import Schedule

SCHEDULES: dict[Schedule, str] = {
    "sequential": "⇢ one after the other",
    "concurrent": "⇉ both at once",
    "swap": "⇄ one loaded at a time",
}


HISTORIES = {"shared": "A's history", "fresh": "fresh prompts"}


class TopBar(Static):
    """Name, schedule, sampling."""

    DEFAULT_CSS = """
    TopBar { height: 1; padding: 0 1; color: $quiet; }
    """

    schedule: reactive[Schedule] = reactive("sequential")
    generation: reactive[Generation] = reactive(Generation())
    contended: reactive[bool] = reactive(False)
    """Whether the sides would take speed from each other."""
    history: reactive[str] = reactive("own")
    """What sides read before a prompt."""
    sides: reactive[int] = reactive(2)
    differ: reactive[str] = reactive("")
    """What the sides do differently: `system prompt`."""

    def render(self) -> Content:
        """Name at the left, the rest at the right."""
        left = Content.assemble(("quantduel", "bold $foreground"))
        schedule = SCHEDULES[self.schedule].replace("both", all_of(self.sides))
        mode = Content.assemble((schedule, "$foreground"))
        if self.contended:
            mode += Content.assemble((" · speeds contended", "$text-warning"))
        if self.history in HISTORIES:
            mode += Content.assemble((f" · {HISTORIES[self.history]}", "$foreground"))
        if self.differ:
            mode += Content.assemble((f" · ≠ {self.differ}", "$text-warning"))
        available = self.size.width - left.cell_length - 1
        right = max(
            (
                fitting([mode, Content.assemble((text, "$quiet"))], "   ", available)
                for text in self._samplings()
            ),
            key=lambda line: line.cell_length,
        )
        return left + " " * max(1, self.size.width - left.cell_length - right.cell_length) + right

    def _samplings(self) -> tuple[str, str]:
        """The sampling in full, and without the limit for narrow screens."""
        return sampling_text(self.generation), choice_text(self.generation)


def sampling_text(generation: Generation) -> str:
    """`greedy · 256 tokens at most`, or the temperature and the seed."""
    return f"{choice_text(generation)} · {generation.max_new_tokens} tokens at most"


def choice_text(generation: Generation) -> str:
    """How a token is chosen: `greedy`, or `temperature 0.7 · seed 1`."""
    if generation.temperature > 0:
        return f"temperature {generation.temperature:g} · seed {generation.seed}"
    return "greedy"
