"""Named points with errors as one SVG picture, for a page that has no script. Pure.

The vertical axis is logarithmic, because divergences span decades; the horizontal one begins at 0.
"""

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
    xs = ticks(max(point.x for point in plot.points))
    low = math.floor(math.log10(min(point.y for point in plot.points)))
    high = math.ceil(math.log10(max(point.y for point in plot.points)))
    decades = range(low, max(high, low + 1) + 1)
    return [
        *_axes(xs, decades, plot.x_name),
        *(part for point in plot.points for part in _point(point, xs, decades)),
    ]


def _axes(xs: Sequence[float], decades: range, name: str) -> list[Html]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [_text(right, HEIGHT - 6, name, anchor="end")]
    for x in xs:
        parts.append(_text(_x(x, xs), bottom + 16, f"{x:g}", anchor="middle"))
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


def _y(value: float, decades: range) -> float:
    share = (math.log10(value) - decades[0]) / (decades[-1] - decades[0])
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    return element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=class_)


def _text(x: float, y: float, text: str, *, anchor: str = "start", class_: str = "") -> Html:
    placed = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    return element("text", text, **placed, class_=class_)
