"""From one pen to another in as few codes as it takes."""

import pytest

from tui.output.pens import of_blank, parts, way


@pytest.mark.parametrize(
    ("old", "new", "written"),
    [
        ("31", "31", ""),
        ("1;31;44", "1;32;44", "\x1b[32m"),
        ("1;31", "31", "\x1b[22m"),
        ("1;2;31", "2;31", "\x1b[22;2m"),
        ("1;38;2;1;2;3;48;5;9", "", "\x1b[m"),
        ("38;2;1;2;3", "38;2;1;2;3;48;5;9", "\x1b[48;5;9m"),
        ("91;101", "91", "\x1b[49m"),
        ("", "\0id=1;http://a", "\x1b]8;id=1;http://a\x1b\\"),
        ("\0id=1;http://a", "1", "\x1b[1m\x1b]8;;\x1b\\"),
        (None, "4;31", "\x1b[0;4;31m\x1b]8;;\x1b\\"),
    ],
)
def test_the_way(old: str | None, new: str, written: str) -> None:
    assert way(old, new) == written


def test_colours_are_told_from_attributes() -> None:
    assert parts("1;3;38;5;4;48;2;1;2;3") == (frozenset({"1", "3"}), "38;5;4", "48;2;1;2;3", "")
    assert parts("97;40") == (frozenset(), "97", "40", "")


def test_a_blank_has_a_ground_and_no_colour() -> None:
    assert of_blank("1;38;5;4;48;5;2") == "48;5;2"
    assert of_blank("4;38;5;4") == "4;38;5;4"
