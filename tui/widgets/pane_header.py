"""The line above a pane: letter, profile, badge, device and state."""

from textual.content import Content
from textual.widgets import Static

from engine.duel.sides import LETTERS
from engine.sanitize import visible
from tui.duel.colours import TEXT_COLOURS
from tui.duel.side import Side, State

STATE_STYLES: dict[State, tuple[str, str]] = {
    "ready": ("●", "$text-success"),
    "waiting": ("○", "$quiet"),
    "reading": ("▸", "$text-warning"),
    "answering": ("▸", "$text-warning"),
    "stopping": ("■", "$text-warning"),
    "cancelled": ("■", "$quiet"),
    "no answer": ("✗", "$text-warning"),
    "failed": ("✗", "$text-error"),
    "not loaded": ("○", "$quiet"),
}
_LOADING = ("◌", "$text-warning")


MORE: dict[State, str] = {"stopping": " … Esc again ends the worker"}


def state_content(state: State) -> Content:
    """A state with its sign: readable without colours too."""
    sign, style = STATE_STYLES.get(state, _LOADING)
    return Content.assemble((f"{sign} {state}{MORE.get(state, '')}", style))


class PaneHeader(Static):
    """Who answers here, and how far they are."""

    DEFAULT_CSS = """
    PaneHeader { height: 1; padding: 0 1; background: $surface; }
    """

    def __init__(self, side: Side, index: int) -> None:
        super().__init__()
        self._side = side
        self._index = index

    def render(self) -> Content:
        """Name at the left, state at the right; the name gives way first."""
        colour = TEXT_COLOURS[self._index]
        device = visible(self._side.device, keep_newlines=False)
        right = Content.assemble((f"{device}  ", "$quiet"), state_content(self._side.state))
        badge = Content.assemble("  ", (visible(self._side.label, keep_newlines=False), colour))
        available = self.size.width - right.cell_length - badge.cell_length - 5
        name = Content(visible(self._side.profile.name, keep_newlines=False)).truncate(
            max(4, available), ellipsis=True
        )
        left = Content.assemble((f"{LETTERS[self._index]}  ", f"bold {colour}"), name.stylize("bold"), badge)
        gap = max(1, self.size.width - left.cell_length - right.cell_length)
        return left + " " * gap + right
