"""B against A after a turn, in two lines: what it gains, and whether the comparison is fair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.sanitize import visible
from tui.widgets.fitting import fitting

if TYPE_CHECKING:
    from engine.duel.comparison import Comparison
    from engine.duel.text import Ratio

HINT = "B against A: decode, TTFT and memory appear here once both have answered"


GAP = "   "


class Delta(Static):
    """The comparison of one turn."""

    DEFAULT_CSS = """
    Delta { height: 2; padding: 0 2; background: $surface; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    comparison: reactive[Comparison | None] = reactive(None)

    def render(self) -> Content:
        """Ratios, then proof and divergence."""
        if self.comparison is None:
            return Content.assemble((HINT, "$quiet"))
        available = self.size.width
        return ratios(self.comparison, available) + "\n" + proof(self.comparison, available)


def ratios(comparison: Comparison, available: int) -> Content:
    """`nf4 against bf16   decode ×1.31   TTFT ×0.40   weights ×0.41   peak ×0.80`."""
    from engine.duel import text  # the first picture does not wait for the engine

    a, b = (visible(label, keep_newlines=False) for label in comparison.labels)
    parts = [Content.assemble((b, "bold $text-accent"), (" against ", "$quiet"), (a, "bold $text-primary"))]
    parts += [_figure(ratio, is_fair=is_fair(comparison)) for ratio in text.ratios(comparison)]
    if comparison.contended:
        parts.append(Content.assemble(("contended", "$text-warning")))
    return fitting(parts, GAP, available)


def proof(comparison: Comparison, available: int) -> Content:
    """The proof of equal input, and where the answers diverge."""
    from engine.duel import text

    parts = [Content.assemble((text.input_text(comparison), "" if is_fair(comparison) else "$text-warning"))]
    if "earlier answers" in comparison.input_difference:
        parts.append(Content.assemble(("F10: the same history", "bold $quiet")))
    return fitting([*parts, Content.assemble((text.divergence_text(comparison), "$quiet"))], GAP, available)


def is_fair(comparison: Comparison) -> bool:
    """Whether both sides read the same."""
    return comparison.input is not None and comparison.input.identical


def _figure(ratio: Ratio, *, is_fair: bool) -> Content:
    style = {True: "bold $text-success", False: "bold $text-warning", None: "bold"}[ratio.is_better]
    style = style if is_fair else "$quiet"
    return Content.assemble((f"{ratio.name} ", "$quiet"), (ratio.text, style))
