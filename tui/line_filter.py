"""The last boundary before the terminal: no line of any widget has a character that a terminal acts on.

Widgets make untrusted text visible where they assemble it. This holds for the rest: inputs, titles, tooltips,
whatever a library paints. Knows no widget.
"""

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

from engine.sanitize import without_controls


class Harmless(LineFilter):
    """Leaves out what takes no room and acts; links that hold such a character are no links."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if all(map(_is_harmless, segments)):
            return segments
        return [
            Segment(without_controls(text), _without_link(style), control)
            for text, style, control in segments
        ]


def _is_harmless(segment: Segment) -> bool:
    style = segment.style
    return segment.text.isprintable() and (style is None or style.link is None or style.link.isprintable())


def _without_link(style: Style | None) -> Style | None:
    if style is None or style.link is None or style.link.isprintable():
        return style
    return style.update_link(None)
