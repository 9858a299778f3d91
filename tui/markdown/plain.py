"""An answer as the model wrote it, with marks; in parts: a widget draws all of itself for one line of it."""

from collections.abc import Iterator, Sequence

from textual.containers import Vertical
from textual.content import Content, Span
from textual.widgets import Static

MARK = "bold $text-warning"
PART = 4_000  # characters, at least, of a part; it ends with a line


class Plain(Vertical):
    """Text without Markdown."""

    DEFAULT_CSS = """
    Plain { padding: 0 1; margin: 0 0 1 0; height: auto; }
    Plain Static { height: auto; }
    """

    def show(self, text: str, spans: Sequence[tuple[int, int]]) -> None:
        """Have this stand here, with these places of it marked."""
        content = Content(text, [Span(start, end, MARK) for start, end in spans])
        *parts, last = content.divide(list(_ends(text)))
        self.remove_children()
        self.mount_all(map(Static, (*(part[:-1] for part in parts), last)))


def _ends(text: str) -> Iterator[int]:
    """Where parts end, in characters."""
    end = text.find("\n", PART)
    while end >= 0:
        yield end + 1
        end = text.find("\n", end + PART)
