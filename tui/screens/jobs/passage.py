"""Lines of words next to figures: wrapped, and scrolled where there is no room for all of them."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.sanitize import visible


class Passage(VerticalScroll):
    """As high as its lines, within bounds; its scroll bar shows that there is more."""

    DEFAULT_CSS = """
    Passage { height: auto; padding: 0 1 0 2; display: none; }
    Passage.-there { display: block; }
    Passage:focus { background: $panel 40%; }
    """

    def __init__(self, classes: str) -> None:
        super().__init__(classes=f"{classes}-room")
        self._lines_class = classes

    def compose(self) -> ComposeResult:
        yield Static(classes=self._lines_class)

    def allow_focus(self) -> bool:
        """Only what scrolls is gone to."""
        return super().allow_focus() and self.max_scroll_y > 0

    def tell(self, lines: Sequence[str], *, there: bool) -> None:
        """Have these lines stand here, or the place be free for them; without `there` it is not there."""
        self.query_one(Static).update(Content(visible("\n".join(lines))))
        self.set_class(there, "-there")
