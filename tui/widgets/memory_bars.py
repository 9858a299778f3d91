"""What a model holds in memory: a bar a figure where there is room, two lines where there is not.

Weights, cache, activations, peak and process share one scale with the other side, so that the bars of both
panes compare; the device's bar has its own.
"""

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.protocol.model import Memory
from engine.units import bytes_text
from tui.duel.figures import bar
from tui.duel.side import Side
from tui.widgets.fitting import fitting

ALL_ROWS = 6
LABEL_WIDTH = 12
VALUE_WIDTH = 11
TELLING = ("weights", "peak", "KV cache")
Row = tuple[str, int | None]
"""A figure's name and its bytes."""


class MemoryBars(Static):
    """Weights, KV cache, activations, peak, process, device."""

    DEFAULT_CSS = """
    MemoryBars { height: 6; padding: 0 2; text-wrap: nowrap; }
    """

    scale_bytes: reactive[int] = reactive(0)
    """What a full bar is."""

    def __init__(self, side: Side, colour: str) -> None:
        super().__init__()
        self._side = side
        self._colour = colour

    def render(self) -> Content:
        """A bar a figure; in two lines, the figures and the device's bar."""
        memory, info = self._side.memory, self._side.info
        weights = info.weights_bytes if info else None
        rows = rows_of(memory, weights)
        figures = self._bars(rows) if self.size.height >= ALL_ROWS else [_line(rows, self.size.width)]
        return Content("\n").join([*figures, self._device(memory)])

    def _bars(self, rows: list[Row]) -> list[Content]:
        return [self._row(label, value, bytes_text(value), self.scale_bytes) for label, value in rows]

    def _device(self, memory: Memory | None) -> Content:
        used, total = (memory.device_used_bytes, memory.device_total_bytes) if memory else (0, 0)
        device = f"{bytes_text(used)} of {bytes_text(total)}" if memory else "–"
        return self._row("device", used, device, total)

    def _row(self, label: str, value: int | None, text: str, scale: int) -> Content:
        width = self.size.width - LABEL_WIDTH - max(VALUE_WIDTH, len(text)) - 2
        if width < 1:
            return Content.assemble((label.ljust(max(0, self.size.width - len(text))), "$quiet"), text)
        filled, empty = bar((value or 0) / scale if scale else 0.0, width)
        return Content.assemble(
            (label.ljust(LABEL_WIDTH), "$quiet"),
            (filled, self._colour),
            (empty, "$faint"),
            "  " + text.rjust(VALUE_WIDTH),
        )


def rows_of(memory: Memory | None, weights_bytes: int | None = None) -> list[Row]:
    """The figures that share a scale. Where a container hides process ids, the allocator's are shown.

    Of a server's model nothing is known but the weights, where it says how large they are.
    """
    if memory is None:
        unknown = ("KV cache", "activations", "peak", "process")
        return [("weights", weights_bytes), *((label, None) for label in unknown)]
    return [
        ("weights", memory.weights_bytes),
        ("KV cache", memory.kv_cache_bytes),
        ("activations", memory.activations_bytes),
        ("peak", memory.peak_bytes),
        ("reserved" if memory.process_source == "allocator" else "process", memory.process_bytes),
    ]


def scale_of(memories: list[Memory | None]) -> int:
    """The highest figure of all sides."""
    return max((value or 0 for memory in memories for _, value in rows_of(memory)), default=0)


def _line(found: list[Row], available: int) -> Content:
    """The figures in a line; where not all fit, the most telling ones."""
    known = dict(found)
    rows = [(label, known[label]) for label in known if label != "activations"]
    rows.sort(key=lambda row: TELLING.index(row[0]) if row[0] in TELLING else len(TELLING))
    parts = [Content.assemble((f"{label} ", "$quiet"), bytes_text(value)) for label, value in rows]
    return fitting(parts, "  ", available)
