"""Named points with errors as one SVG picture, for a page that has no script. Pure.

The vertical axis is logarithmic, because divergences span decades; the horizontal one begins at 0,
but for a series.
"""

import itertools
import math
from collections.abc import Sequence

from msgspec import Struct

from engine.html import Html, element

WIDTH, HEIGHT = 480.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 24.0, 34.0, 42.0
CHARACTER = 6.5  # of a name, in pixels, by order of magnitude
STEPS = (1, 2, 5, 10)


class Point(Struct, frozen=True):
    """One of them; `error` is to either side, on the vertical axis."""

    name: str
    x: float
    y: float
    error: float = 0.0


class Plot(Struct, frozen=True, kw_only=True):
    """Points on two axes; all values of `y` are above 0."""

    title: str
    x_name: str
    points: tuple[Point, ...]
    is_series: bool = False
    """Points of one name are joined, on a logarithmic axis as well: all values of `x` are above 0."""


def drawn(plot: Plot) -> Html:
    """The picture; without points it says so."""
    title = _text(LEFT, 16, plot.title, class_="title")
    body = _body(plot) if plot.points else [_text(LEFT, HEIGHT / 2, "nothing was measured")]
    return element("svg", title, *body, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img")


def ticks(largest: float, most: int = 5) -> list[float]:
    """Round numbers from 0 to at least the largest value, at most so many steps."""
    if not largest > 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(largest / most))
    step = next(power * each for each in STEPS if power * each * most >= largest * (1 - 1e-9))
    return [step * place for place in range(math.ceil(largest / step - 1e-9) + 1)]


def _body(plot: Plot) -> list[Html]:
    if plot.is_series:
        return _series(plot)
    xs = ticks(max(point.x for point in plot.points))
    decades = _decades(plot.points)
    return [
        *_axes(xs, decades, plot.x_name),
        *(part for point in plot.points for part in _point(point, xs, decades)),
    ]


def _series(plot: Plot) -> list[Html]:
    """A line a name, with its name at the end."""
    xs = sorted({point.x for point in plot.points})
    decades = _decades(plot.points)
    parts = _axes(xs, decades, plot.x_name, is_log=True)
    for name in dict.fromkeys(point.name for point in plot.points):
        mine = sorted((point for point in plot.points if point.name == name), key=lambda point: point.x)
        places = [(_log_x(point.x, xs), _y(point.y, decades)) for point in mine]
        for (x1, y1), (x2, y2) in itertools.pairwise(places):
            parts.append(_line(x1, y1, x2, y2, "error"))
        parts += [element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="4", class_="point") for x, y in places]
        x, y = places[-1]
        parts.append(_text(x, y - 8, name, anchor="end", class_="name"))
    return parts


def _decades(points: Sequence[Point]) -> range:
    low = math.floor(math.log10(min(point.y for point in points)))
    high = math.ceil(math.log10(max(point.y for point in points)))
    return range(low, max(high, low + 1) + 1)


def _axes(xs: Sequence[float], decades: range, name: str, *, is_log: bool = False) -> list[Html]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [_text(right, HEIGHT - 6, name, anchor="end")]
    for x in xs:
        place = _log_x(x, xs) if is_log else _x(x, xs)
        parts.append(_text(place, bottom + 16, f"{x:g}", anchor="middle"))
    for decade in decades:
        y = _y(10.0**decade, decades)
        parts += [_line(LEFT, y, right, y, "axis"), _text(LEFT - 8, y + 4, f"{10.0**decade:g}", anchor="end")]
    return parts


def _point(point: Point, xs: Sequence[float], decades: range) -> list[Html]:
    x, y = _x(point.x, xs), _y(point.y, decades)
    low, high = (
        _y(max(value, 10.0 ** decades[0]), decades)
        for value in (point.y - point.error, point.y + point.error)
    )
    fits = x + 10 + CHARACTER * len(point.name) < WIDTH
    name = _text(
        x + 10 if fits else x - 10, y + 4, point.name, anchor="start" if fits else "end", class_="name"
    )
    circle = element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="4", class_="point")
    return [_line(x, low, x, high, "error"), circle, name]


def _x(value: float, xs: Sequence[float]) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * value / xs[-1]


def _log_x(value: float, xs: Sequence[float]) -> float:
    """From the first tick to the last."""
    span = math.log(xs[-1] / xs[0])
    share = math.log(value / xs[0]) / span if span else 0.5
    return LEFT + (WIDTH - LEFT - RIGHT) * (0.04 + 0.92 * share)


def _y(value: float, decades: range) -> float:
    share = (math.log10(value) - decades[0]) / (decades[-1] - decades[0])
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    return element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=class_)


def _text(x: float, y: float, text: str, *, anchor: str = "start", class_: str = "") -> Html:
    placed = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    return element("text", text, **placed, class_=class_)
