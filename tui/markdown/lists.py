"""The rows of a Markdown list: hanging indents, bullets, numbers.

For lists of paragraphs and lists; what holds anything else (code, a table) is left to Textual.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from textual.content import Content

BULLETS = "•◦‣"
BULLET_STYLE = "$text-primary"
TEXT_ONLY = {"bullet_list", "ordered_list", "list_item", "paragraph", "inline"}

ToContent = Callable[[Token], Content]


class ListRow(NamedTuple):
    """One paragraph of an item; `lead` is its indentation and bullet."""

    lead: str
    content: Content

    @property
    def key(self) -> Hashable:
        """What the row looks like."""
        return self.lead, self.content.plain

    def lines(self, width: int) -> list[Content]:
        """The paragraph next to its bullet."""
        lines = self.content.wrap(max(1, width - len(self.lead))) or [Content("")]
        first = Content.assemble((self.lead, BULLET_STYLE), lines[0])
        return [first, *(Content(" " * len(self.lead)) + line for line in lines[1:])]


def list_rows(tokens: Sequence[Token], to_content: ToContent) -> list[ListRow] | None:
    """The rows of a list's tokens; None where an item holds more than text."""
    root = SyntaxTreeNode(tokens).children[0]
    if any(node.type not in TEXT_ONLY for node in _blocks(root)):
        return None
    return list(_list(root, "", 0, to_content))


def _blocks(node: SyntaxTreeNode) -> Iterator[SyntaxTreeNode]:
    """The node and what is below it, without the insides of text."""
    yield node
    if node.type != "inline":
        for child in node.children:
            yield from _blocks(child)


def _list(node: SyntaxTreeNode, indent: str, depth: int, to_content: ToContent) -> Iterator[ListRow]:
    bullets = [BULLETS[depth % len(BULLETS)] + " "] * len(node.children)
    if node.type == "ordered_list":
        start = int(node.attrs.get("start", 1))
        bullets = [f"{number}. " for number in range(start, start + len(node.children))]
    width = max((len(bullet) for bullet in bullets), default=0)
    for bullet, item in zip(bullets, node.children, strict=True):
        yield from _item(item, indent + bullet.rjust(width), depth, to_content)


def _item(item: SyntaxTreeNode, lead: str, depth: int, to_content: ToContent) -> Iterator[ListRow]:
    if not item.children:
        yield ListRow(lead, Content(""))
    for index, child in enumerate(item.children):
        blank = " " * len(lead)
        if child.type != "paragraph":
            if index == 0:
                yield ListRow(lead, Content(""))
            yield from _list(child, blank, depth + 1, to_content)
        elif index == 0:
            yield ListRow(lead, _text(child, to_content))
        else:
            yield from (ListRow("", Content("")), ListRow(blank, _text(child, to_content)))


def _text(paragraph: SyntaxTreeNode, to_content: ToContent) -> Content:
    inline = paragraph.children[0].token if paragraph.children else None
    return to_content(inline) if inline else Content("")
