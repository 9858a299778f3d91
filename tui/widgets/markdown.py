"""Markdown from a model: shown, never acted on, and cheap to extend.

Links do not open, HTML is text, images are their description, and table cells have no tooltips (Textual reads
those as markup). Lists grow item by item, so a long list does not rebuild itself with each word.
"""

from markdown_it import MarkdownIt
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Markdown
from textual.widgets._markdown import (
    MarkdownBlock,
    MarkdownBullet,
    MarkdownBulletList,
    MarkdownOrderedList,
    MarkdownTable,
    MarkdownTableContent,
)


def _parser() -> MarkdownIt:
    return MarkdownIt("gfm-like", {"html": False})


class _TableContent(MarkdownTableContent):
    """A table without tooltips."""

    def compose(self) -> ComposeResult:
        for cell in super().compose():
            cell.tooltip = None
            yield cell


class _Table(MarkdownTable):
    """A table whose cells are text and nothing else."""

    def compose(self) -> ComposeResult:
        self._headers, self._rows = self._get_headers_and_rows()
        yield _TableContent(self._headers, self._rows)


class _BulletList(MarkdownBulletList):
    """A bullet list that grows."""

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if not await _grow(self, block):
            await super()._update_from_block(block)


class _OrderedList(MarkdownOrderedList):
    """A numbered list that grows."""

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if not await _grow(self, block):
            await super()._update_from_block(block)


async def _grow(block: MarkdownBlock, longer: MarkdownBlock) -> bool:
    """Keep a list's finished items when text arrives: only the last can still change. False: no list."""
    rows = list(block.query_children(Horizontal))
    if type(longer) is not type(block) or not rows:
        return False
    fresh = list(longer.compose())[len(rows) - 1 :]
    await rows[-1].remove()
    await block.mount_all(fresh)
    _align_bullets(block)
    return True


def _align_bullets(block: MarkdownBlock) -> None:
    """Give every bullet the width of the widest."""
    bullets = [row.query_one(MarkdownBullet) for row in block.query_children(Horizontal)]
    width = max((len(bullet.symbol) for bullet in bullets), default=0)
    for bullet in bullets:
        bullet.symbol = bullet.symbol.rjust(width)


class ModelMarkdown(Markdown):
    """Markdown that a model wrote."""

    BLOCKS = {
        **Markdown.BLOCKS,
        "table_open": _Table,
        "bullet_list_open": _BulletList,
        "ordered_list_open": _OrderedList,
    }

    def __init__(self, markdown: str | None = None, *, classes: str | None = None) -> None:
        super().__init__(markdown, classes=classes, parser_factory=_parser, open_links=False)
