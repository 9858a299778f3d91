"""What few colours are for: sides keep theirs, lines are seen, and what is marked stays marked."""

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from tui import theme
from tui.output.colours import Palette, few_colours, number_of_256

DARK, LIGHT = theme.DARK, theme.LIGHT


def painted(palette: Palette, colour: str | None, ground: str | None, *, dark: bool = True) -> Style:
    """The style that a text of these colours gets."""
    segment = Segment("x", Style(color=colour, bgcolor=ground))
    found = few_colours(palette, dark=dark).apply([segment], Color.parse("black"))[0].style
    assert found is not None
    return found


def numbers(style: Style) -> tuple[int | None, int | None]:
    return (style.color and style.color.number, style.bgcolor and style.bgcolor.number)


@pytest.mark.parametrize("name", ["background", "surface", "panel"])
def test_with_256_a_dark_panel_is_grey(name: str) -> None:
    assert numbers(painted("256", None, getattr(DARK, name)))[1] in range(232, 256)


def test_with_256_the_grounds_differ() -> None:
    grounds = [DARK.background, DARK.surface, DARK.panel]
    assert len({number_of_256(Color.parse(str(ground)).rgb) for ground in grounds}) == 3


@pytest.mark.parametrize("chosen", [DARK, LIGHT])
def test_with_16_the_sides_have_colours_of_their_own(chosen: theme.Theme) -> None:
    sides = [
        numbers(painted("16", colour, chosen.background, dark=chosen.dark))[0]
        for colour in (chosen.primary, chosen.accent, chosen.error, chosen.foreground)
    ]
    assert len(set(sides)) == 4


@pytest.mark.parametrize("chosen", [DARK, LIGHT])
@pytest.mark.parametrize("name", ["foreground", "primary", "accent", "secondary", "panel"])
def test_with_16_text_and_lines_are_seen(chosen: theme.Theme, name: str) -> None:
    colour, ground = numbers(painted("16", getattr(chosen, name), chosen.background, dark=chosen.dark))
    assert colour != ground


@pytest.mark.parametrize("palette", ["16", "none"])
@pytest.mark.parametrize("chosen", [DARK, LIGHT])
def test_a_cursor_is_seen(palette: Palette, chosen: theme.Theme) -> None:
    marked = chosen.variables["block-cursor-background"]
    colour = chosen.variables["block-cursor-foreground"]
    at, beside = (
        painted(palette, colour, ground, dark=chosen.dark) for ground in (marked, chosen.background)
    )
    assert (at.bgcolor, at.reverse) != (beside.bgcolor, beside.reverse)


def test_without_colours_there_is_none() -> None:
    style = painted("none", DARK.primary, DARK.panel) + painted("none", "#e8edf3", "#2b3644")
    assert style.color is None
    assert style.bgcolor is None


def test_without_colours_faint_text_is_dim() -> None:
    assert painted("none", "#374455", DARK.background).dim
    assert not painted("none", DARK.foreground, DARK.background).dim


@pytest.mark.parametrize("chosen", [DARK, LIGHT])
def test_with_16_quiet_text_is_less_bright_than_other_text(chosen: theme.Theme) -> None:
    ground = Color.parse(str(chosen.background))
    quiet = ground.blend(Color.parse(str(chosen.foreground)), 0.6).hex
    seen = [
        numbers(painted("16", str(colour), ground.hex, dark=chosen.dark))[0]
        for colour in (quiet, chosen.foreground)
    ]
    assert seen == ([7, 15] if chosen.dark else [8, 0])


@pytest.mark.parametrize(
    ("colour", "ground"),
    [
        (LIGHT.accent, LIGHT.background),
        (LIGHT.primary, LIGHT.panel),
        (LIGHT.success, "#d3dbe4"),
        (LIGHT.success, LIGHT.background),
    ],
)
def test_with_16_nothing_on_a_light_ground_is_green_cyan_or_yellow(colour: str, ground: str) -> None:
    assert numbers(painted("16", colour, ground, dark=False))[0] not in {2, 3, 6, 7}


@pytest.mark.parametrize(("ground", "above"), [("#b3261e", 15), ("#6f5500", 0)])
def test_with_16_grey_text_is_seen_on_a_hue(ground: str, above: int) -> None:
    assert numbers(painted("16", LIGHT.foreground, ground, dark=False))[0] == above


def test_with_16_a_pale_green_is_green() -> None:
    assert numbers(painted("16", "#b5d4aa", DARK.background))[0] == 10
    assert numbers(painted("16", DARK.secondary, DARK.background))[0] == 7
