"""What quantizing cost, layer by layer, as rows with a bar each: from a record to a table and a small plot.

Knows nothing of terminals. The loss is the method's own: comparable within a checkpoint, not between methods.
"""

import math
from collections.abc import Sequence

from engine.config.record import ModuleError
from engine.tables import Cell, Row

BAR_CELLS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def rows(errors: Sequence[ModuleError]) -> list[Row]:
    """One row a layer: the loss of each matrix, their mean, and a bar between best and worst layer."""
    layers: dict[int, dict[str, float]] = {}
    for error in errors:
        layers.setdefault(error.layer, {})[error.module] = error.loss
    names = list(dict.fromkeys(error.module for error in errors))
    means = {layer: sum(losses.values()) / len(losses) for layer, losses in layers.items()}
    range_ = min(means.values(), default=0.0), max(means.values(), default=0.0)
    return [_row(layer, layers[layer], names, means[layer], range_) for layer in sorted(layers)]


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """A horizontal bar of that share of `cells`, in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, share)) * cells * 8)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def _row(
    layer: int, losses: dict[str, float], names: Sequence[str], mean: float, range_: tuple[float, float]
) -> Row:
    cells: dict[str, Cell] = {"layer": layer}
    cells |= {_short(name, names): losses.get(name) for name in names}
    return cells | {"mean": mean, "log scale": bar(_log_share(mean, *range_))}


def _log_share(value: float, least: float, most: float) -> float:
    """Where the value lies between the two, by their logarithms; the least is one cell, not none.

    The scale is a decade at least, so that layers that hardly differ look it.
    """
    floor = max(min(least, most / 10), most / 1e4)
    if value <= floor:
        return 1 / BAR_CELLS if most else 0.0
    return (1 + (BAR_CELLS - 1) * math.log(value / floor) / math.log(most / floor)) / BAR_CELLS


def _short(name: str, names: Sequence[str]) -> str:
    """The last part of a matrix's name, where that is enough to distinguish it."""
    last = name.rpartition(".")[2]
    return last if [other.rpartition(".")[2] for other in names].count(last) == 1 else name
