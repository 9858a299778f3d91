"""Lines of words next to figures: wrapped, and scrolled where there is no room for all of them."""

import re
from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Static

from engine.sanitize import visible

NAME = re.compile(r"\S+(?: \S+)* {2,}")  # of a fact, at the beginning of its line
INDENT = 2


class Lines(Static):
    """Lines; what has no room in one goes on below, indented: below the fact where it begins with a name."""

    lines: Sequence[str] = ()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Of all lines, wrapped."""
        return len(self._wrapped(width))

    def render(self) -> Content:
        """All of them."""
        return Content("\n").join(self._wrapped(self.content_size.width))

    def _wrapped(self, width: int) -> list[Content]:
        return [part for line in self.lines for part in _hanging(line, width)] if width else []


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
        yield Lines(classes=self._lines_class)

    def allow_focus(self) -> bool:
        """Only what scrolls is gone to."""
        return super().allow_focus() and self.max_scroll_y > 0

    def tell(self, lines: Sequence[str], *, there: bool) -> None:
        """Have these lines stand here, or the place be free for them; without `there` it is not there."""
        shown = self.query_one(Lines)
        shown.lines = [line for each in lines for line in visible(each).split("\n")]
        shown.refresh(layout=True)
        self.set_class(there, "-there")


def _hanging(line: str, width: int) -> list[Content]:
    """A line in parts that have room."""
    name = NAME.match(line)
    if name and name.end() < width // 2:
        first, *below = Content(line[name.end() :]).wrap(width - name.end())
        return [Content(name[0]) + first, *(part.pad_left(name.end()) for part in below)]
    first = Content(line).wrap(width)[0]
    rest = line[len(first.plain) :].lstrip()
    below = Content(rest).wrap(max(1, width - INDENT)) if rest else []
    return [first, *(part.pad_left(INDENT) for part in below)]
