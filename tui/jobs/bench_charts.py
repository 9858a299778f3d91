"""A bench's document as charts: speed and memory over context lengths, a line a profile. Pure."""

from collections.abc import Callable, Mapping

from engine.bench.document import Document
from engine.bench.rows import Row
from tui.charts.chart import Axis, Chart, Line
from tui.jobs.job import mebibytes

EARLIER = "$quiet"


def charts(found: Document, earlier: Document | None, colours: Mapping[str, str]) -> tuple[Chart, Chart]:
    """Decode against context, and memory against context: a line a profile, of the smallest batch."""
    if levels := found.header.settings.concurrency:
        at_once = Axis("requests at once", log=True, ticks=tuple(map(float, sorted(levels))))
        return (
            Chart("total, tok/s", at_once, Axis("tok/s"), _by_level(found, _total, colours)),
            Chart("time to first token, p50 ms", at_once, Axis("ms"), _by_level(found, _ttft_ms, colours)),
        )
    contexts = Axis("context", log=True, ticks=tuple(map(float, sorted(found.header.settings.contexts))))
    unit, size = mebibytes([row.peak_bytes or 0 for row in found.rows])
    then = _lines(earlier, _speed, dict.fromkeys(colours, EARLIER), " (then)") if earlier else ()
    speeds = (*then, *_lines(found, _speed, colours))
    memory = _lines(found, lambda row: row.peak_bytes / size if row.peak_bytes else None, colours)
    return (
        Chart("decode, tok/s", contexts, Axis("tok/s"), speeds),
        Chart(f"peak memory, {unit}", contexts, Axis(unit), memory),
    )


def _lines(
    found: Document, value: Callable[[Row], float | None], colours: Mapping[str, str], suffix: str = ""
) -> tuple[Line, ...]:
    """A line for each profile of these colours, over the rows that have the value."""
    least = min(found.header.settings.batches)
    lines = []
    for name, colour in colours.items():
        mine = [row for row in found.rows if row.profile == name and row.batch == least]
        pairs = [(float(row.context), y) for row in mine if (y := value(row)) is not None]
        lines.append(Line(name + suffix, colour, tuple(sorted(pairs))))
    return tuple(line for line in lines if line.points or not suffix)


def _speed(row: Row) -> float | None:
    return row.decode_tok_s.mean if row.decode_tok_s else None


def _by_level(
    found: Document, value: Callable[[Row], float | None], colours: Mapping[str, str]
) -> tuple[Line, ...]:
    """A line a profile over requests at once, of the longest context."""
    longest = max(found.header.settings.contexts)
    lines = []
    for name, colour in colours.items():
        mine = [row for row in found.rows if row.profile == name and row.context == longest]
        pairs = [(float(row.at_once), y) for row in mine if (y := value(row)) is not None]
        lines.append(Line(name, colour, tuple(sorted(pairs))))
    return tuple(lines)


def _total(row: Row) -> float | None:
    return row.many.total_tok_s if row.many else None


def _ttft_ms(row: Row) -> float | None:
    return row.many.ttft_ms.p50 if row.many and row.many.ttft_ms else None
