"""Scales, ticks, and the drawing of charts."""

import pytest

from tui.charts.chart import Axis, Chart, Line, labels, scale, ticks
from tui.charts.plot import NO_ROOM, drawn
from tui.charts.raster import Raster

CONTEXTS = (32.0, 128.0, 512.0)


def chart(**line: object) -> Chart:
    points = tuple(zip(CONTEXTS, (30.0, 20.0, 10.0), strict=True))
    return Chart(
        "decode",
        Axis("context", log=True, ticks=CONTEXTS),
        Axis("tok/s"),
        (Line("[b]x", "$primary", points, **line),),
    )  # type: ignore[arg-type]


def test_a_linear_axis_begins_at_zero() -> None:
    found = scale(Axis("tok/s"), [98.0, 100.0])
    assert found.low == 0 and found.share(0) == 0
    assert found.share(100.0) > 0.9
    assert ticks(Axis("tok/s"), found, 4) == [0, 50, 100]
    layers = Axis("layer", whole=True)
    assert ticks(layers, scale(layers, [0, 1]), 4) == [0, 1]


def test_a_logarithmic_axis_has_equal_steps_and_spans_a_decade() -> None:
    found = scale(Axis("context", log=True, ticks=CONTEXTS), [])
    assert [found.share(value) for value in CONTEXTS] == pytest.approx([0, 0.5, 1])
    narrow = scale(Axis("nats", log=True), [0.016, 0.017])
    assert narrow.high / narrow.low == pytest.approx(10)
    assert found.share(0.0) == 0


def test_nothing_to_show_is_no_error() -> None:
    for axis in (Axis("x"), Axis("x", log=True)):
        found = scale(axis, [])
        assert found.low < found.high
        assert ticks(axis, found, 4)


def test_labels_tell_neighbours_apart() -> None:
    assert labels([0.03, 0.1, 1000.0]) == ["0.03", "0.1", "1000"]
    assert labels([10.01, 10.02]) == ["10.01", "10.02"]


def test_a_line_runs_from_corner_to_corner() -> None:
    raster = Raster(4, 4)
    raster.line((0, 0), (1, 1), "$primary")
    rows = ["".join(sign for sign, _ in row) for row in raster.rows()]
    assert rows[0].strip() and rows[0].endswith(rows[0].strip())  # the end lies at the upper right
    assert rows[-1][0] != " "


@pytest.mark.parametrize("size", [(40, 12), (100, 20), (16, 6)])
def test_a_chart_fills_its_place_exactly(size: tuple[int, int]) -> None:
    lines = drawn(chart(), *size).plain.split("\n")
    assert len(lines) == size[1]
    assert max(map(len, lines)) <= size[0]
    assert "[b]x" in lines[1]  # a name is no markup


def test_without_points_there_is_no_figure_on_any_axis() -> None:
    for y in (Axis("KLD", log=True), Axis("loss")):
        text = drawn(Chart("none", Axis("tok/s"), y, (Line("x", "$primary", ()),)), 60, 14).plain
        assert "nothing measured" in text and not any(sign.isdigit() or sign in "┤┬" for sign in text)


def test_a_small_place_gets_the_title_only() -> None:
    assert drawn(chart(), 12, 3).plain.startswith("decode")
    assert drawn(chart(), 30, 5).plain.split("\n")[2] == NO_ROOM


def test_single_points_carry_their_names() -> None:
    text = drawn(chart(joined=False, spreads=(1.0, 1.0, 1.0)), 60, 14).plain
    assert text.count("●") == 3
    assert "● [b]x" in text
    assert "32" in text.split("\n")[-1] and "512" in text.split("\n")[-1]
