"""The same points as lines of text, for Markdown: a line a point, on one logarithmic axis. Pure.

The vertical axis of the picture lies here; where a point is on the other one stands as a number before it.
"""

import math

from engine.jobs.plot import Plot, Point
from engine.sanitize import visible
from engine.units import digits

WIDTH = 40
DOT, LINE, REACH = "●", "·", "─"


def lines(plot: Plot) -> list[str]:
    """`nf4      107.9  ·····──●──·····  0.0312 ± 0.0012`; the title is above, the axis below."""
    points = list(plot.points) if plot.is_series else sorted(plot.points, key=lambda point: point.y)
    if not points:
        return [plot.title, "nothing was measured"]
    low = math.floor(math.log10(min(point.y for point in points)))
    high = max(low + 1, math.ceil(math.log10(max(point.y for point in points))))
    names = [visible(point.name, keep_newlines=False) for point in points]
    places = [digits(point.x, 4) for point in points]
    wide, far = max(map(len, names)), max(map(len, places))
    body = [
        f"{name:<{wide}}  {place:>{far}}  {_row(point, low, high)}  {_value(point)}"
        for name, place, point in zip(names, places, points, strict=True)
    ]
    left = f"{10.0**low:g}"
    axis = left + f"{10.0**high:g}".rjust(WIDTH - len(left))
    indent = " " * (wide + far + 4)
    return [f"{plot.title}; before each its {plot.x_name}", *body, indent + axis]


def _row(point: Point, low: int, high: int) -> str:
    cells = [LINE] * WIDTH
    first, last = (_place(point.y + sign * point.error, low, high) for sign in (-1, 1))
    cells[first : last + 1] = REACH * (last + 1 - first)
    cells[_place(point.y, low, high)] = DOT
    return "".join(cells)


def _place(value: float, low: int, high: int) -> int:
    share = (math.log10(value) - low) / (high - low) if value > 0 else 0.0
    return round(max(0.0, min(1.0, share)) * (WIDTH - 1))


def _value(point: Point) -> str:
    return digits(point.y) + (f" ± {point.error:.2g}" if point.error else "")
