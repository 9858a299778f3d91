"""Draws a chart in braille: title and names, axes with ticks, lines or single points. Measures nothing."""

from collections.abc import Sequence
from itertools import pairwise

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.sanitize import visible
from tui.charts.chart import Axis, Chart, Line, Scale, labels, scale, ticks
from tui.charts.raster import Raster

ROWS_A_TICK, CELLS_A_TICK = 3, 9
SMALLEST = (16, 6)
FRAME = "$faint"
LABEL = "$quiet"
DOT = "●"
NO_POINTS = "nothing measured to draw here"
NO_ROOM = "too small here to be drawn"


class Plot(Static):
    """One chart, as large as there is room."""

    DEFAULT_CSS = """
    Plot { width: 1fr; height: 1fr; padding: 0 1; text-wrap: nowrap; }
    """

    chart: reactive[Chart | None] = reactive(None)

    def render(self) -> Content:
        """The chart; its title and a word where there is no room, no axes where there is nothing to draw."""
        if self.chart is None:
            return Content("")
        return drawn(self.chart, self.size.width, self.size.height)


def drawn(chart: Chart, width: int, height: int) -> Content:
    """The chart in so many characters."""
    head = [Content.assemble((chart.title, f"bold {LABEL}")).truncate(width, ellipsis=True)]
    if any(line.joined for line in chart.lines):
        head.append(_legend(chart.lines, width))
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return Content("\n").join(
            [*head, Content.assemble((NO_ROOM, LABEL)).truncate(width, ellipsis=True)][:height]
        )
    if not chart.points:
        return Content("\n").join([*head, Content.assemble((NO_POINTS, LABEL))])
    y_scale = scale(chart.y, _reach(chart))
    y_ticks = ticks(chart.y, y_scale, (height - len(head) - 2) // ROWS_A_TICK + 1)
    texts = labels(y_ticks)
    left = max(map(len, texts))
    raster = Raster(width - left - 2, height - len(head) - 2)
    x_scale = scale(chart.x, [x for x, _ in chart.points])
    _draw(raster, chart.lines, x_scale, y_scale)
    marks = {
        raster.cell((0, y_scale.share(value)))[1]: text for value, text in zip(y_ticks, texts, strict=True)
    }
    body = [_body_line(spots, marks.get(row), left) for row, spots in enumerate(raster.rows())]
    return Content("\n").join([*head, *body, *_foot(chart.x, x_scale, raster, left)])


def _reach(chart: Chart) -> list[float]:
    """Every y that must be in view."""
    tops = [
        point[1] + spread
        for line in chart.lines
        for point, spread in zip(line.points, line.spreads or (0.0,) * len(line.points), strict=True)
    ]
    return [*tops, *(y for _, y in chart.points)]


def _draw(raster: Raster, lines: Sequence[Line], x: Scale, y: Scale) -> None:
    for line in lines:
        places = [(x.share(a), y.share(b)) for a, b in line.points]
        for (a, b), spread in zip(line.points, line.spreads, strict=False):
            raster.line((x.share(a), y.share(b - spread)), (x.share(a), y.share(b + spread)), line.colour)
        if line.joined:
            for start, end in pairwise(places):
                raster.line(start, end, line.colour)
    for line in lines:
        for a, b in line.points:
            raster.sign((x.share(a), y.share(b)), DOT if not line.joined else "•", line.colour)
    for line in lines:
        if not line.joined:
            for a, b in line.points:
                raster.words((x.share(a), y.share(b)), visible(line.name, keep_newlines=False), line.colour)


def _legend(lines: Sequence[Line], width: int) -> Content:
    names = [Content.assemble(("━ ", line.colour), visible(line.name, keep_newlines=False)) for line in lines]
    return Content("   ").join(names).truncate(width, ellipsis=True)


def _body_line(spots: list[tuple[str, str]], label: str | None, left: int) -> Content:
    parts = [Content.assemble(((label or "").rjust(left) + " ", LABEL), ("┤" if label else "│", FRAME))]
    run, colour = "", ""
    for sign, style in [*spots, ("", "end")]:
        if style != colour or not sign:
            parts.append(Content.assemble((run, colour)) if colour else Content(run))
            run, colour = "", style
        run += sign
    return Content("").join(parts)


def _foot(axis: Axis, x: Scale, raster: Raster, left: int) -> list[Content]:
    """The axis below with its ticks, and their labels with the title where it fits."""
    values = ticks(axis, x, raster.width // CELLS_A_TICK)
    rule, words, end = ["─"] * raster.width, "", 0
    for value, text in zip(values, labels(values), strict=True):
        column = raster.cell((x.share(value), 0))[0]
        start = min(max(0, column - len(text) // 2), raster.width - len(text))
        if start >= end:
            rule[column] = "┬"
            words, end = words.ljust(start) + text, start + len(text) + 1
    gap, blank = " " * (left + 1), " " * (left + 2)
    available = raster.width - len(words)
    title = axis.title.rjust(available) if len(axis.title) + 2 <= available else ""
    return [
        Content.assemble(gap, ("└" + "".join(rule), FRAME)),
        Content.assemble(blank, (words + title, LABEL)),
    ]
