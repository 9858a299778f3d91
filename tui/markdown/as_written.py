"""What stays as the model wrote it where Markdown would take it away: line breaks, backslashes, mathematics.

A backslash is taken away before a sign of Markdown's own and nowhere else; between `\\(` and `\\)`, `\\[` and
`\\]`, `$$` and `$$`, `$` and `$`, `\\begin{…}` and `\\end{…}` nothing is markup, and where such a formula has
several lines none of them begins a list, a heading or another block, also while it is still being said.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.escape import escape
from markdown_it.token import Token

ESCAPED = frozenset("*_`#~>|<+-.!\n")
_BODY = r".{1,4000}?"  # no formula is longer: what is never closed must not be searched again and again
_MATHEMATICS = re.compile(
    rf"\\\({_BODY}\\\)|\\\[{_BODY}\\\]|\$\${_BODY}\$\$|\$(?![\s$])[^$\n]*(?<![\s\\])\$(?!\d)"
    rf"|\\begin\{{(?P<kind>[a-z]+\*?)\}}{_BODY}\\end\{{(?P=kind)\}}",
    re.DOTALL,
)
_UNFINISHED = re.compile(r"(?:\\[\[(]|\\begin\{|^[ \t>]*\$\$[ \t]*$).*", re.DOTALL | re.MULTILINE)
_NO_FORMULA = re.compile(  # code, and the line of a heading
    r"^ {0,3}#{1,6} [^\n]*"
    r"|^[ >]*(?P<fence>`{3,}|~{3,}).*?(?:^[ >]*(?P=fence)|\Z)"
    r"|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)",
    re.DOTALL | re.MULTILINE,
)
_PARAGRAPH = re.compile(r"(?:[ \t]*\S[^\n]*(?:\n|\Z))+")
_INSIDE = "lines inside formulas"  # by this name in the parser's environment
BlockRule = Callable[[StateBlock, int, int, bool], bool]


def keep(parser: MarkdownIt) -> None:
    """Have this parser leave them alone."""
    parser.inline.ruler.before("escape", "mathematics", _mathematics)
    parser.inline.ruler.at("escape", _escape)
    parser.core.ruler.before("block", "formulas", _note_formulas)
    for rule in parser.block.ruler.__rules__:
        rule.fn = _outside_formulas(rule.fn)
    parser.core.ruler.push("line breaks", lambda state: _keep_breaks(state.tokens))


def _note_formulas(state: StateCore) -> None:
    """Find the lines that begin inside of a formula."""
    text = _NO_FORMULA.sub(lambda code: re.sub(r"[^\n]", "x", code[0]), state.src)
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    spans = [
        (found.start() + paragraph.start(), found.end() + paragraph.start())
        for paragraph in _PARAGRAPH.finditer(text)
        for found in _formulas(paragraph[0])
    ]
    state.env[_INSIDE] = {
        line for first, end in spans for line in range(bisect_right(starts, first), bisect_left(starts, end))
    }


def _formulas(paragraph: str) -> list[re.Match[str]]:
    """Those of a paragraph, and at its end one that is not finished."""
    found = list(_MATHEMATICS.finditer(paragraph))
    begun = _UNFINISHED.search(paragraph, found[-1].end() if found else 0)
    return [*found, begun] if begun else found


def _outside_formulas(rule: BlockRule) -> BlockRule:
    """The rule, which neither interrupts a paragraph's formula nor takes its lines for a underline."""

    def applied(state: StateBlock, line: int, end: int, silent: bool) -> bool:
        inside = state.env[_INSIDE]
        if silent and line in inside:
            return False
        tokens, parent = len(state.tokens), state.parentType
        if not rule(state, line, end, silent):
            return False
        if not silent and state.line - 1 in inside and _is_underlined(state.tokens[tokens:]):
            del state.tokens[tokens:]
            state.line, state.parentType = line, parent
            return False
        return True

    return applied


def _is_underlined(tokens: Sequence[Token]) -> bool:
    """Whether they are a heading with a line of `-` or `=` below it."""
    return tokens[-1:] != [] and tokens[-1].type == "heading_close" and tokens[-1].markup in {"-", "="}


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
