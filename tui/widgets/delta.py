"""B against A after a turn, in two lines: what it gains, and whether the comparison is fair.

Of more sides each one against A, a line each; where there is no room for that, the one in view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.duel.sides import LETTERS
from engine.sanitize import visible
from tui.duel.colours import TEXT_COLOURS
from tui.widgets.fitting import fitting

if TYPE_CHECKING:
    from engine.duel.comparison import Comparison
    from engine.duel.text import Ratio

HINT = "{} against A: decode, TTFT and memory, once {} have answered"


GAP = "   "


class Delta(Static):
    """The comparisons of one turn."""

    DEFAULT_CSS = """
    Delta { height: 2; padding: 0 2; background: $surface; text-wrap: nowrap; text-overflow: ellipsis; }
    Delta.-of-4 { height: 3; }
    Delta.-of-5 { height: 4; }
    Delta.-of-6 { height: 5; }
    """

    comparisons: reactive[tuple[Comparison, ...]] = reactive(())
    active: reactive[int] = reactive(0)
    """The side in view."""
    sides: reactive[int] = reactive(2)

    @property
    def comparison(self) -> Comparison | None:
        """The first of them."""
        return self.comparisons[0] if self.comparisons else None

    @comparison.setter
    def comparison(self, found: Comparison | None) -> None:
        self.comparisons = (found,) if found else ()

    def watch_sides(self) -> None:
        """A line for each that is compared."""
        for sides in range(3, len(LETTERS) + 1):
            self.set_class(sides == self.sides, f"-of-{sides}")

    def render(self) -> Content:
        """Ratios, then proof and divergence; of many a line each. In one row what matters more of the two."""
        words = self._words()
        if self.size.height != 1:
            return words
        above, *below = words.split("\n")
        return above if all(map(is_fair, self.comparisons)) else below[-1]

    def _words(self) -> Content:
        available, found = self.size.width, self.comparisons
        if not found:
            return Content.assemble((_hint(self.sides), "$quiet"))
        if self.sides == 2:
            return ratios(found[0], available) + "\n" + proof(found[0], available)
        if self.size.height >= self.sides - 1:
            return table(found, available)
        in_view = [one for one in found if one.side == self.active]
        if in_view:
            return ratios(in_view[0], available) + "\n" + proof(in_view[0], available)
        return overview(found, available)


def _hint(sides: int) -> str:
    if sides == 2:
        return HINT.format("B", "both")
    if sides == 3:
        return HINT.format("B and C", "they")
    return HINT.format(f"{LETTERS[1]} to {LETTERS[sides - 1]}", "they")


def table(found: Sequence[Comparison], available: int) -> Content:
    """A line for each: its ratios, and where it diverges; what was read, where there is room.

    That speeds do not compare is said before the ratios.
    """
    names = [_names(comparison) for comparison in found]
    widest = max(name.cell_length for name in names)
    lines = []
    for comparison, name in zip(found, names, strict=True):
        ratios, given = _ratios(comparison), _given(comparison)
        said = [*ratios, _divergence(comparison), given]
        if not is_fair(comparison):
            said = [given, *ratios, _divergence(comparison)]
        parts = [name.pad_right(widest - name.cell_length), *said]
        lines.append(fitting(parts, GAP, available))
    return Content("\n").join(lines)


def overview(found: Sequence[Comparison], available: int) -> Content:
    """Two figures of all sides: `decode against A   B ×1.31`; or one, and why speeds do not compare."""
    from engine.duel import text

    rows = []
    for place, name in enumerate(ratio.name for ratio in text.ratios(found[0])):
        parts = [Content.assemble((f"{name} against A", "$quiet"))]
        for comparison in found:
            letter = (f"{LETTERS[comparison.side]} ", f"bold {TEXT_COLOURS[comparison.side]}")
            ratio = text.ratios(comparison)[place]
            parts.append(Content.assemble(letter, (ratio.text, _style(ratio, is_fair(comparison)))))
        if not place and any(comparison.slowed for comparison in found):
            parts.append(Content.assemble(("slowed", "$text-warning")))
        if any(text.ratios(comparison)[place].remark for comparison in found):
            parts.append(Content.assemble((text.TOO_SHORT, "$text-warning")))
        rows.append(fitting(parts, GAP, available))
    unfair = [comparison for comparison in found if not is_fair(comparison)]
    if not unfair:
        return rows[0] + "\n" + rows[-1]
    whose = ", ".join(LETTERS[comparison.side] for comparison in unfair) if len(unfair) < len(found) else ""
    given, *key = _inputs(unfair[0])
    given = Content.assemble((f"{whose}: " if whose else "", "bold")) + given
    return rows[0] + "\n" + fitting([given, *key], GAP, available)


def ratios(comparison: Comparison, available: int) -> Content:
    """`nf4 against bf16   decode ×1.31   TTFT ×0.40   weights ×0.41   peak ×0.80`."""
    return fitting([_names(comparison), *_ratios(comparison)], GAP, available)


def proof(comparison: Comparison, available: int) -> Content:
    """The proof of equal input, and where the answers diverge."""
    return fitting([*_inputs(comparison), _divergence(comparison)], GAP, available)


def is_fair(comparison: Comparison) -> bool:
    """Whether both sides read the same."""
    return comparison.input is not None and comparison.input.identical


def _names(comparison: Comparison) -> Content:
    a, b = (visible(label, keep_newlines=False) for label in comparison.labels)
    colours = (f"bold {TEXT_COLOURS[side]}" for side in (comparison.reference, comparison.side))
    colour_a, colour_b = colours
    return Content.assemble((b, colour_b), (" against ", "$quiet"), (a, colour_a))


def _ratios(comparison: Comparison) -> list[Content]:
    from engine.duel import text  # the first picture does not wait for the engine

    parts = [_figure(ratio, is_fair=is_fair(comparison)) for ratio in text.ratios(comparison)]
    if comparison.slowed:  # where there is room for it
        parts.insert(1, Content.assemble((text.slowed_text(comparison), "$text-warning")))
    if comparison.contended:
        parts.append(Content.assemble(("contended", "$text-warning")))
    return parts


def _inputs(comparison: Comparison) -> list[Content]:
    """What was read, and which key would have all read the same."""
    is_history = "earlier answers" in comparison.input_difference
    key = Content.assemble(("F10: the same history", "bold $quiet"))
    return [_given(comparison), *([key] if is_history else [])]


def _given(comparison: Comparison) -> Content:
    from engine.duel import text

    return Content.assemble((text.input_text(comparison), "" if is_fair(comparison) else "$text-warning"))


def _divergence(comparison: Comparison) -> Content:
    from engine.duel import text

    return Content.assemble((text.divergence_text(comparison), "$quiet"))


def _figure(ratio: Ratio, *, is_fair: bool) -> Content:
    remark = (f" ({ratio.remark})" if ratio.remark else "", "$text-warning")
    return Content.assemble((f"{ratio.name} ", "$quiet"), (ratio.text, _style(ratio, is_fair)), remark)


def _style(ratio: Ratio, is_fair: bool) -> str:
    style = {True: "bold $text-success", False: "bold $text-warning", None: "$quiet"}[ratio.is_better]
    return style if is_fair else "$quiet"
