"""Markdown from a model: shown, never acted on, and cheap to extend.

Links do not open, HTML is text, images are their description, and nothing has a tooltip (Textual reads those
as markup). Lists and tables are one widget each.
"""

from collections.abc import Iterable, Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from textual.app import ComposeResult
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownTable, MarkdownTableContent
from textual.widgets.markdown import MarkdownBlock

from engine.sanitize import visible
from tui.markdown import as_written
from tui.markdown.divergence import show_marks
from tui.markdown.lists import list_rows
from tui.markdown.tables import table_rows
from tui.markdown.text_block import Row, TextBlock


class _InnerTableContent(MarkdownTableContent):
    """Cells without tooltips."""

    def compose(self) -> ComposeResult:
        for cell in super().compose():
            cell.tooltip = None
            yield cell


class _InnerTable(MarkdownTable):
    """A table inside a list or a quotation."""

    def compose(self) -> ComposeResult:
        self._headers, self._rows = self._get_headers_and_rows()
        yield _InnerTableContent(self._headers, self._rows)


class ModelMarkdown(Markdown):
    """Markdown that a model wrote."""

    BLOCKS = {**Markdown.BLOCKS, "table_open": _InnerTable}

    def __init__(self) -> None:
        super().__init__(parser_factory=_parser, open_links=False)

    def _parse_markdown(self, tokens: Iterable[Token]) -> Iterable[MarkdownBlock]:
        """Blocks as Textual makes them, but for lists and tables."""
        for group in _groups(tokens):
            block = TextBlock(self, group[0])
            rows = _rows(block, group)
            if rows is None:
                yield from super()._parse_markdown(group)
            else:
                block.rows = rows
                yield block


def _parser() -> MarkdownIt:
    parser = MarkdownIt("gfm-like", {"html": False})
    as_written.keep(parser)
    parser.core.ruler.push("visible", lambda state: _make_visible(state.tokens))
    parser.core.ruler.push("divergence", lambda state: show_marks(state.tokens))
    return parser


def _make_visible(tokens: Sequence[Token]) -> None:
    """A character reference such as `&#x202e;` may name what no longer stands in the source."""
    for token in tokens:
        if token.children:
            _make_visible(token.children)
        elif token.type == "text":
            token.content = visible(token.content)


def _groups(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    """The tokens of each block at the top level."""
    group: list[Token] = []
    for token in tokens:
        group.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield group
            group = []


def _rows(block: TextBlock, group: Sequence[Token]) -> Sequence[Row] | None:
    """The rows of a list or a table; None for every other block."""
    match group[0].type:
        case "bullet_list_open" | "ordered_list_open":
            return list_rows(group, block._token_to_content)
        case "table_open":
            return table_rows(group, block._token_to_content)
    return None
