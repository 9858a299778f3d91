"""Colours for terminals that have 256, 16 or none: chosen for what they are for, not by the nearest number.

With 256 a dark panel stays grey. With 16 a hue stays that hue, but for green, cyan and yellow, which nobody
can read on a light ground; quiet text is less bright than other text, a faint line is there, and what marks
a place has a ground. Without colours (NO_COLOR) faint text is dim, and what marks a place is reversed.
"""

from collections.abc import Callable
from colorsys import rgb_to_hls
from functools import lru_cache
from typing import Literal

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

Palette = Literal["256", "16", "none"]
Triplet = tuple[int, int, int]
CUBE = (0, 95, 135, 175, 215, 255)  # levels of xterm's 6 × 6 × 6 colours
HUES = ((20, 1), (75, 3), (160, 2), (205, 6), (260, 4), (330, 5), (361, 1))  # up to so many degrees
COLOURED_FROM, GROUND_COLOURED_FROM = 48, 80  # between the strongest and the weakest part of a colour
PALE_COLOURED_FROM, PALE_SATURATION = 32, 0.3  # of a light one
DARK_GROUNDS = frozenset({0, 1, 4, 5, 8})
READ_ON_LIGHT = {2: 0, 3: 5, 6: 4}  # green is black there, yellow magenta, cyan blue
HIDDEN = {8: {9, 12, 13}}  # on these grounds these colours are as light as the ground
MARKED_FROM = 0.11  # of lightness, between what marks a place and the screen's ground
DIM_BELOW = 0.5  # of lightness, between text and its ground
REVERSED, DIM = Style(reverse=True), Style(dim=True)


class FewColours(LineFilter):
    """Turns colours of 24 bits into what a terminal has."""

    def __init__(self, palette: Palette, *, dark: bool) -> None:
        super().__init__()
        change: dict[Palette, Callable[[Style, bool], Style]] = {
            "256": _with_256,
            "16": _with_16,
            "none": _without,
        }
        self._change, self._dark = change[palette], dark

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, style and self._change(style, self._dark), control)
            for text, style, control in segments
        ]


@lru_cache(8)
def few_colours(palette: Palette, *, dark: bool) -> FewColours:
    """The filter; the same one for the same terminal and theme, since what it made is kept by it."""
    return FewColours(palette, dark=dark)


@lru_cache(4096)
def _with_256(style: Style, dark: bool) -> Style:
    colour, ground = _triplet(style.color), _triplet(style.bgcolor)
    return style + Style(
        color=RichColor.from_ansi(number_of_256(colour)) if colour else None,
        bgcolor=RichColor.from_ansi(number_of_256(ground)) if ground else None,
    )


@lru_cache(4096)
def _with_16(style: Style, dark: bool) -> Style:
    colour, ground = _triplet(style.color), _triplet(style.bgcolor)
    below = ground_of_16(ground) if ground else 0 if dark else 15
    above = _above_16(colour, below, is_ground=colour == ground) if colour else None
    return style + Style(
        color=None if above is None else RichColor.from_ansi(above),
        bgcolor=RichColor.from_ansi(below) if ground else None,
    )


def _above_16(colour: Triplet, below: int, *, is_ground: bool) -> int:
    """The colour of text, which is seen on this ground unless it is the ground's own."""
    if is_ground:
        return below
    found = colour_of_16(colour, dark=below in DARK_GROUNDS)
    is_grey_on_hue = below in range(1, 7) and not _is_coloured(colour)
    if found == below or is_grey_on_hue or found in HIDDEN.get(below, ()):
        return 15 if below in DARK_GROUNDS else 0
    return found


@lru_cache(4096)
def _without(style: Style, dark: bool) -> Style:
    screen = 0.08 if dark else 0.98
    colour, ground = _triplet(style.color), _triplet(style.bgcolor)
    below = _lightness(ground) if ground else screen
    found = style.without_color
    if abs(below - screen) > MARKED_FROM:
        return found + REVERSED
    return found + DIM if colour and abs(_lightness(colour) - below) < DIM_BELOW else found


@lru_cache(1024)
def number_of_256(colour: Triplet) -> int:
    """xterm's number: of its colours or of its greys, whichever is nearer."""
    steps = [min(range(6), key=lambda step: abs(CUBE[step] - part)) for part in colour]
    grey = max(0, min(23, round((sum(colour) / 3 - 8) / 10)))
    cube_distance = sum((CUBE[step] - part) ** 2 for step, part in zip(steps, colour, strict=True))
    grey_distance = sum((8 + 10 * grey - part) ** 2 for part in colour)
    if grey_distance <= cube_distance:
        return 232 + grey
    red, green, blue = steps
    return 16 + 36 * red + 6 * green + blue


def colour_of_16(colour: Triplet, *, dark: bool) -> int:
    """The colour of text on a dark or on a light ground."""
    lightness = _lightness(colour)
    if _is_coloured(colour):
        hue = _hue(colour)
        return hue + 8 if dark else READ_ON_LIGHT.get(hue, hue)
    steps = ((0.35, 8), (0.7, 7), (2.0, 15)) if dark else ((0.35, 0), (0.7, 8), (2.0, 7))
    return next(number for limit, number in steps if lightness < limit)


def ground_of_16(colour: Triplet) -> int:
    """The colour of a ground."""
    if max(colour) - min(colour) > GROUND_COLOURED_FROM:
        return _hue(colour)
    lightness = _lightness(colour)
    return next(number for limit, number in ((0.19, 0), (0.5, 8), (0.9, 7), (2.0, 15)) if lightness < limit)


def _is_coloured(colour: Triplet) -> bool:
    spread = max(colour) - min(colour)
    saturation = rgb_to_hls(*(part / 255 for part in colour))[2]
    return spread > COLOURED_FROM or (spread > PALE_COLOURED_FROM and saturation > PALE_SATURATION)


def _hue(colour: Triplet) -> int:
    degrees = rgb_to_hls(*(part / 255 for part in colour))[0] * 360
    return next(number for limit, number in HUES if degrees < limit)


def _lightness(colour: Triplet) -> float:
    return (max(colour) + min(colour)) / 510


def _triplet(colour: RichColor | None) -> Triplet | None:
    if colour is None or colour.triplet is None:
        return None
    red, green, blue = colour.triplet
    return red, green, blue
