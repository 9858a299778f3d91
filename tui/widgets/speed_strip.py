"""The speeds of an answer, live and final. Every figure is the engine's; the strip only lays them out."""

from collections.abc import Sequence

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.stats import energy
from engine.stats.metrics import Metrics
from engine.units import digits, ms_text, speed_text
from tui.duel.figures import Figures, sparkline
from tui.duel.side import Side

ALL_ROWS = 5


class SpeedStrip(Static):
    """TTFT, prefill, decode with its sparkline, tokens."""

    DEFAULT_CSS = """
    SpeedStrip { height: 2; padding: 0 2; text-wrap: nowrap; }
    """

    top_tok_s: reactive[float] = reactive(0.0)
    """What a full mark of the sparkline is: the highest of all sides, so that they compare."""

    def __init__(self, side: Side, colour: str) -> None:
        super().__init__()
        self._side = side
        self._colour = colour

    def render(self) -> Content:
        """Labels above, figures below, in columns that do not move; the sparkline where it fits."""
        figures, live = self._side.figures, self._side.state == "answering"
        labels, values = Content(""), Content("")
        contended = "contended" if figures and figures.metrics.contended else ""
        available = self.size.width - len(contended)
        for label, value, width in columns(cells(figures, live=live), available):
            labels += Content.assemble((label.ljust(width), "$quiet"))
            values += Content.assemble((value.ljust(width), "bold" if figures else "$quiet"))
        if figures is None:
            return labels + "\n" + values
        labels += Content.assemble((contended, "$text-warning"))
        if self.size.height >= ALL_ROWS:
            return Content("\n").join([labels, values, Content(""), *self._course(figures)])
        values += " " * (values.cell_length < self.size.width)
        return labels + "\n" + values + self._spark(figures, self.size.width - values.cell_length)

    def _course(self, figures: Figures) -> list[Content]:
        """How the speed went, in a line of its own, and the gaps between tokens."""
        return [
            self._spark(figures, self.size.width),
            Content.assemble((gaps_text(figures.metrics), "$quiet")),
        ]

    def _spark(self, figures: Figures, available: int) -> Content:
        spark = sparkline(figures.speeds_tok_s, available, self.top_tok_s) if available > 3 else ""
        return Content.assemble((spark, self._colour))


Column = tuple[str, str, int]
"""Label, value, width."""
DRAW = "mean draw"
LEAST_TELLING = ("round trip", "prefill", "TTFT", "tokens")  # left out first


def columns(wanted: Sequence[Column], available: int) -> list[Column]:
    """The columns at full width; in too little room close together, then without the least important."""
    wide = [(label, value, max(width, len(label) + 1, len(value) + 1)) for label, value, width in wanted]
    if _width(wide) < available:
        return wide
    if DRAW in {label for label, _, _ in wanted}:  # no reason to move together
        return columns([column for column in wanted if column[0] != DRAW], available)
    close = [(label, value, max(len(label), len(value)) + 1) for label, value, _ in wanted]
    for least in LEAST_TELLING:
        if _width(close) > available:
            close = [column for column in close if column[0] != least]
    *before, (label, value, width) = close
    return [*before, (label, value, width - 1)]


def _width(columns: Sequence[Column]) -> int:
    """Of all columns; after the last nothing need be free."""
    return sum(width for _, _, width in columns) - 1


def cells(figures: Figures | None, *, live: bool) -> list[Column]:
    """(label, value, width) of each column."""
    metrics = figures.metrics if figures else None
    decode = (figures.live_tok_s if live else figures.metrics.decode_tok_s) if figures else None
    joules = metrics.joules_per_token if metrics and not live else None
    watts = metrics.mean_watts if metrics and not live else None
    taken = [] if joules is None else [("energy", f"{digits(joules)} J/tok", 13)]
    draw = [] if watts is None else [(DRAW, energy.watts_text(watts), 9)]
    away = metrics.round_trip_ms if metrics else None
    line = [] if away is None else [("round trip", ms_text(away), 11)]
    return [
        ("TTFT", ms_text(metrics.ttft_ms if metrics else None), 9),
        *line,
        ("prefill", speed_text(metrics.prefill_tok_s if metrics else None), 12),
        ("decode now" if live else "decode", speed_text(decode), 12),
        *taken,
        *draw,
        ("tokens", tokens_text(metrics), 11),
    ]


def tokens_text(metrics: Metrics | None) -> str:
    """`38 + 42`: the prompt's and the answer's; `38 (30 kept) + 42` where the cache still held a part."""
    if metrics is None:
        return "–"
    kept = f" ({metrics.reused_tokens} kept)" if metrics.reused_tokens else ""
    return f"{metrics.prompt_tokens}{kept} + {metrics.new_tokens}"


def gaps_text(metrics: Metrics) -> str:
    """Median and 95th percentile of the time between two tokens."""
    return f"gaps p50 {ms_text(metrics.itl_p50_ms)}, p95 {ms_text(metrics.itl_p95_ms)}"
