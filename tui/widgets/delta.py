"""B against A after a turn, in two lines: what it gains, and whether the comparison is fair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.sanitize import visible

if TYPE_CHECKING:
    from engine.duel.comparison import Comparison

SHA_LENGTH = 8
HINT = "B against A: decode, TTFT and memory appear here once both have answered"


class Delta(Static):
    """The comparison of one turn."""

    DEFAULT_CSS = """
    Delta { height: 2; padding: 0 2; background: $surface; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    comparison: reactive[Comparison | None] = reactive(None)
    parted_texts: reactive[tuple[str, str]] = reactive(("", ""))

    def render(self) -> Content:
        """Ratios, then proof and divergence."""
        if self.comparison is None:
            return Content.assemble((HINT, "$quiet"))
        return ratios(self.comparison) + "\n" + proof(self.comparison, self.parted_texts)


def ratios(comparison: Comparison) -> Content:
    """`nf4 against bf16   decode ×1.31   TTFT ×0.40   weights 41 %   peak 80 %`."""
    a, b = (visible(label, keep_newlines=False) for label in comparison.labels)
    parts = [Content.assemble((b, "bold $text-accent"), (" against ", "$quiet"), (a, "bold $text-primary"))]
    parts.append(_figure("decode", _times(comparison.decode), good=_above_one(comparison.decode)))
    parts.append(_figure("TTFT", _times(comparison.ttft), good=_below_one(comparison.ttft)))
    parts.append(_figure("weights", _percent(comparison.weights), good=_below_one(comparison.weights)))
    parts.append(_figure("peak", _percent(comparison.peak), good=_below_one(comparison.peak)))
    if comparison.contended:
        parts.append(Content.assemble(("contended", "$text-warning")))
    return Content("   ").join(parts)


def proof(comparison: Comparison, parted_texts: tuple[str, str]) -> Content:
    """The proof of equal input, and where the answers part."""
    words = Content.assemble(("different input: the speeds do not compare", "$text-warning"))
    given = comparison.input
    if given and given.identical:
        sha = given.sha256[:SHA_LENGTH]
        words = Content.assemble(("same input: ", "$quiet"), f"{given.tokens} tokens, sha {sha}")
    return words + Content.assemble(("   ", ""), (parting_text(comparison, parted_texts), "$quiet"))


def parting_text(comparison: Comparison, parted_texts: tuple[str, str]) -> str:
    """Where the answers part, in tokens; says so where tokens do not compare."""
    if not comparison.same_tokenizer:
        return "different tokenizers: tokens do not compare"
    if comparison.parted_at is None:
        return f"same answer: all {_tokens(comparison.tokens[0])}"
    if comparison.parted_at == min(comparison.tokens):
        return f"the same for {_tokens(comparison.parted_at)}, where one ends"
    a, b = (visible(text, keep_newlines=False) for text in parted_texts)
    return f"parted after {_tokens(comparison.parted_at)}: “{a}” | “{b}”"


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"


def _figure(label: str, text: str, *, good: bool | None) -> Content:
    style = {True: "bold $text-success", False: "bold $text-warning", None: "bold"}[good]
    return Content.assemble((f"{label} ", "$quiet"), (text, style))


def _times(ratio: float | None) -> str:
    return f"×{ratio:.2f}" if ratio is not None else "–"


def _percent(ratio: float | None) -> str:
    return f"{ratio * 100:.0f} %" if ratio is not None else "–"


def _above_one(ratio: float | None) -> bool | None:
    return None if ratio is None else ratio >= 1


def _below_one(ratio: float | None) -> bool | None:
    return None if ratio is None else ratio <= 1
