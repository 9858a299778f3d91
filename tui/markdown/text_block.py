"""A Markdown block that lays out its own lines in one widget, where Textual would make one widget a part.

Parts that did not change are not laid out again: a long list or table that streams costs little more than a
paragraph. `benchmarks/markdown.py` is why this stands in for Textual's own blocks: of a list of 120 items a
token takes 0.8 ms of a CPU, with theirs 5 to 6 and half a second at the end, for 481 widgets.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol

from markdown_it.token import Token
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownBlock


class Row(Protocol):
    """A part of a block, from the left edge to the right."""

    @property
    def key(self) -> Hashable:
        """Equal for rows that look the same."""

    def lines(self, width: int) -> list[Content]:
        """The row in lines of this width."""


class TextBlock(MarkdownBlock):
    """Rows, one below the other."""

    DEFAULT_CSS = """
    TextBlock { margin: 0 0 1 0; text-wrap: nowrap; }
    """

    def __init__(self, markdown: Markdown, token: Token) -> None:
        super().__init__(markdown, token)
        self.rows: Sequence[Row] = ()
        self._known: dict[tuple[int, Hashable], list[Content]] = {}  # by width and row

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the rows take."""
        return sum(len(lines) for lines in self._laid_out(width))

    def render(self) -> Content:
        """All lines."""
        return Content("\n").join([line for lines in self._laid_out(self.size.width) for line in lines])

    def _laid_out(self, width: int) -> Iterator[list[Content]]:
        for row in self.rows:
            place = (width, row.key)
            if place not in self._known:
                self._known[place] = row.lines(width)
            yield self._known[place]

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if isinstance(block, TextBlock):
            self.rows = block.rows
            self._copy_context(block)
            self.refresh(layout=True)
        else:
            await super()._update_from_block(block)
