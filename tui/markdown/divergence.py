"""Where two answers diverge, as a mark in Markdown: a sentinel in the source, a sign when it is shown.

The sentinel is put before what cannot be syntax, never into that of a list, so the document stays as it is.
"""

import re
from collections.abc import Iterator, Sequence

from markdown_it.token import Token

SENTINEL = "\ue123"  # private use: a model that writes it gets it shown as unknown
SIGN = "◆"
FARTHEST = 40  # characters from the divergence to the next that is no syntax
_FENCE = re.compile(r"[ \t]*(```|~~~)[^\n]*\n?")
_NUMBER = re.compile(r"[ \t]*\d+[.)](?=\s)")
_PLAIN = re.compile(  # no blank, and no syntax where it stands
    r"[^\s.*_`#~>|<+\-=!\\\[\](){}$&:^]|(?<!\d)\.|(?<!\])\(|(?<=[^\W\d])[):+=-]"
)
_CODE = re.compile(r"[^\s`~]")  # within a fence nothing is syntax but its end
_FENCES = re.compile(r"^[ \t>]*(?:```|~~~)", re.MULTILINE)
_WORD = re.compile(SENTINEL + r"(\w+)")


def with_mark(text: str, offset: int) -> str:
    """The text with the sentinel at the first plain character from this offset on, where one is near."""
    text = text.replace(SENTINEL, "\ufffd")
    start = _after_syntax(text, offset)
    is_code = len(_FENCES.findall(text, 0, start)) % 2 == 1
    found = (_CODE if is_code else _PLAIN).search(text, start, start + FARTHEST)
    return text if found is None else text[: found.start()] + SENTINEL + text[found.start() :]


def show_marks(tokens: Sequence[Token]) -> None:
    """Turn the sentinel into a sign; the word after it gets a ground where the block has inline text."""
    for token in tokens:
        if token.children:
            token.children = list(_children(token.children))
        elif SENTINEL in token.content:
            token.content = token.content.replace(SENTINEL, SIGN)


def _children(children: Sequence[Token]) -> Iterator[Token]:
    for child in children:
        found = _WORD.search(child.content) if child.type == "text" else None
        if found is None:
            child.content = child.content.replace(SENTINEL, SIGN)
            yield child
            continue
        before, after = child.content[: found.start()], child.content[found.end() :]
        yield child.copy(content=before)
        yield Token("code_inline", "code", 0, content=SIGN + found[1], level=child.level)
        yield child.copy(content=after)


def _after_syntax(text: str, offset: int) -> int:
    """The offset, or where the line's own text begins: after a list's number, or a fence."""
    start = text.rfind("\n", 0, offset) + 1
    while text[start : offset + 1].strip() == "" and start < len(text) and text[start] == "\n":
        start += 1
    for syntax in (_FENCE, _NUMBER):
        found = syntax.match(text, start)
        if found and offset < found.end():
            return found.end()
    following = re.compile(r"\s*\n").match(text, offset)
    return _after_syntax(text, following.end()) if following and following.end() < len(text) else offset
