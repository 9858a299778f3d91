"""A chart as data: lines or single points over two axes; and the arithmetic of scales and ticks.

Pure: knows no widget and nothing of what is drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
HEADROOM = 1.05  # of the largest value
NARROWEST = 10.0  # a logarithmic axis without natural ticks spans a decade at least

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """What runs along it; `ticks` where there are natural ones."""

    title: str
    log: bool = False
    ticks: tuple[float, ...] = ()
    whole: bool = False
    """Whether there is nothing between whole numbers to name."""


@dataclass(frozen=True, slots=True)
class Line:
    """The points of one profile. `colour` is a theme variable such as `$primary`."""

    name: str
    colour: str
    points: tuple[Point, ...]
    joined: bool = True
    """With lines between neighbours; else each point carries the name."""
    spreads: tuple[float, ...] = ()
    """How far each point's y may be off, up and down."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over axes. A linear axis begins at 0, so that a small difference does not look large."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...] = ()

    @property
    def points(self) -> list[Point]:
        """All points."""
        return [point for line in self.lines for point in line.points]


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to shares of an axis."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the axis's begin, 1 at its end."""
        if self.log:
            if value <= 0:
                return 0.0
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def scale(axis: Axis, values: Sequence[float]) -> Scale:
    """The scale that shows all values, and the natural ticks."""
    shown = [*values, *axis.ticks]
    if axis.log:
        positive = [value for value in shown if value > 0]
        low, high = min(positive, default=1.0), max(positive, default=10.0)
        span = high / low
        margin = 1.0 if axis.ticks and span > 1 else max(span**0.06, math.sqrt(NARROWEST / span))
        return Scale(low / margin, high * margin, log=True)
    high = max(shown, default=1.0)
    return Scale(0.0, (high if high > 0 else 1.0) * HEADROOM, log=False)


def ticks(axis: Axis, scale: Scale, most: int) -> list[float]:
    """At most about so many values to name."""
    if axis.ticks:
        return list(axis.ticks)
    found = _log_ticks(scale) if scale.log else _even_ticks(scale, most, 1.0 if axis.whole else 0.0)
    return found[:: max(1, math.ceil(len(found) / max(1, most)))]


def labels(values: Sequence[float]) -> list[str]:
    """The values as short texts that differ wherever neighbours do."""
    for digits in (3, 4, 5, 6):
        texts = [_short(value, digits) for value in values]
        if all(a != b for a, b in pairwise(texts)):
            break
    return texts if values else []


def _even_ticks(scale: Scale, most: int, least: float) -> list[float]:
    rough = max(least, scale.high / max(1, most))
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in NICE if nice * power >= rough * 0.999)
    return [step * index for index in range(math.floor(scale.high / step + 1e-9) + 1)]


def _log_ticks(scale: Scale) -> list[float]:
    exponents = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
        found = [digit * 10.0**power for power in exponents for digit in digits]
        inside = [value for value in found if scale.low <= value <= scale.high]
        if len(inside) >= 2:
            return inside
    return [scale.low, scale.high]


def _short(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text
