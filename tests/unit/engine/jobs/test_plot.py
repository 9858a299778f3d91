"""Points as a picture."""

import re

import pytest

from engine.jobs.plot import Plot, Point, drawn, ticks

PLOT = Plot(
    title="KLD against weights",
    x_name="MiB",
    points=(Point("a<b", 100, 0.01, 0.02), Point("far", 200, 0.1)),
)


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(100, [0, 20, 40, 60, 80, 100]), (7, [0, 2, 4, 6, 8]), (0.3, [0, 0.1, 0.2, 0.3]), (0, [0, 1])],
)
def test_ticks_are_round_and_reach_the_largest_value(largest: float, expected: list[float]) -> None:
    assert ticks(largest) == pytest.approx(expected)


def test_points_lie_where_their_values_are() -> None:
    svg = drawn(PLOT)
    (x1, y1), (x2, y2) = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert float(x1) == 64 + (480 - 64 - 24) / 2 and float(x2) == 480 - 24  # the axis ends at 200
    assert float(y1) == 300 - 42 and float(y2) == 34  # one decade
    assert "a&lt;b" in svg and "0.01<" in svg and "0.1<" in svg


def test_a_name_that_would_leave_the_picture_stands_before_its_point() -> None:
    far = drawn(PLOT).rpartition("<text")[2]
    assert 'text-anchor="end"' in far and ">far<" in far


def test_no_points_and_a_single_one() -> None:
    assert "nothing was measured" in drawn(Plot(title="t", x_name="x", points=()))
    assert drawn(Plot(title="t", x_name="x", points=(Point("one", 0, 1.0),))).count("<circle") == 1
