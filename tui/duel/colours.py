"""The colour of each side: the theme's primary and accent, then hues that stay apart where there are 16.

Pure: knows themes' variables by name.
"""

from collections.abc import Mapping

from textual.color import Color

COLOURS = ("$primary", "$accent", "$side-c", "$side-d", "$side-e", "$side-f")
"""For bars, lines and what is on a ground of its own."""
TEXT_COLOURS = ("$text-primary", "$text-accent", *COLOURS[2:])
"""For words."""
ON_DARK = {"side-c": "#c792ea", "side-d": "#9ccf7a", "side-e": "#82aaff", "side-f": "#f07a8c"}
ON_LIGHT = {"side-c": "#8e3a9d", "side-d": "#3b6f24", "side-e": "#2f56b0", "side-f": "#b02f4b"}
ANSI = {"side-c": "ansi_magenta", "side-d": "ansi_green", "side-e": "ansi_blue", "side-f": "ansi_red"}


def side_colours(background: Color) -> Mapping[str, str]:
    """C's to F's on a theme's ground."""
    if background.ansi is not None:
        return ANSI
    return ON_DARK if background.brightness < 0.5 else ON_LIGHT
