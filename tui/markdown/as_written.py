"""What stays as the model wrote it where Markdown would take it away: line breaks, backslashes, mathematics.

A backslash is taken away before a sign of Markdown's own and nowhere else; between `\\(` and `\\)`, `\\[` and
`\\]`, `$$` and `$$`, `$` and `$` nothing is markup.
"""

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.escape import escape
from markdown_it.token import Token

ESCAPED = frozenset("*_`#~>|<+-.!\n")
_MATHEMATICS = re.compile(
    r"\\\(.+?\\\)|\\\[.+?\\\]|\$\$.+?\$\$|\$(?![\s$])[^$\n]*(?<![\s\\])\$(?!\d)",
    re.DOTALL,
)


def keep(parser: MarkdownIt) -> None:
    """Have this parser leave them alone."""
    parser.inline.ruler.before("escape", "mathematics", _mathematics)
    parser.inline.ruler.at("escape", _escape)
    parser.core.ruler.push("line breaks", lambda state: _keep_breaks(state.tokens))


def _mathematics(state: StateInline, silent: bool) -> bool:
    found = _MATHEMATICS.match(state.src, state.pos, state.posMax)
    return found is not None and _as_it_is(state, found[0], silent)


def _escape(state: StateInline, silent: bool) -> bool:
    written = state.src[state.pos : min(state.pos + 2, state.posMax)]
    if not written.startswith("\\"):
        return False
    if written[1:] in ESCAPED or not written[1:]:
        return escape(state, silent)
    return _as_it_is(state, written, silent)


def _as_it_is(state: StateInline, text: str, silent: bool) -> bool:
    if not silent:
        first, *rest = text.split("\n")
        state.pending += first
        for line in rest:
            state.push("softbreak", "br", 0)
            state.pending += line
    state.pos += len(text)
    return True


def _keep_breaks(tokens: Sequence[Token]) -> None:
    for token in tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"
