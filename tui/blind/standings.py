"""A leaderboard drawn: a row for each profile and each pair, with its interval as a line on a common axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.sanitize import visible

if TYPE_CHECKING:
    from engine.votes.leaderboard import Leaderboard, Pair, Standing

EMPTY = [
    "No votes yet",
    "",
    "F2 in the duel asks two sides blind: left or right, tie, or both bad.",
    "Without a screen: quantduel arena A B --prompts FILE",
]
NAME_ROOM = (12, 26)  # at least, at most
STANDING_WIDTHS = (7, 6, 6, 6, 6, 7, 10)
PAIR_WIDTHS = (9, 6, 6, 9)
PLOT_ROOM = (10, 60)
PAIR_LABELS = (("◂ second", "first ▸"), ("◂2nd", "1st▸"))
LONG_LABELS_FROM = 20


class Span(NamedTuple):
    """A value in its interval; an end of None is open."""

    low: float | None
    value: float
    high: float | None


class Standings(Static):
    """Profiles, pairs, remarks."""

    DEFAULT_CSS = """
    Standings { height: auto; padding: 1 2; text-wrap: nowrap; }
    """

    board: reactive[Leaderboard | None] = reactive(None, layout=True)

    def render(self) -> Content:
        """Everything the votes say; while they are counted, that."""
        if self.board is None:
            return Content.assemble(("counting the votes", "$quiet"))
        return Content("\n").join(_lines(self.board, max(40, self.size.width)))


def _lines(board: Leaderboard, width: int) -> list[Content]:
    from engine.votes.leaderboard_text import excluded_text

    lines = [*_standings(board, width), Content(""), *_pairs(board, width)] if board.votes else _empty()
    remarks = [*board.notes, *([excluded_text(board)] if board.excluded else ()), *_method(board)]
    wrapped = [line for text in remarks for line in Content(visible(text, keep_newlines=False)).wrap(width)]
    return [*lines, Content(""), *(line.stylize("$quiet") for line in wrapped)]


def _empty() -> list[Content]:
    return [Content.assemble((EMPTY[0], "bold")), *(Content.assemble((line, "$quiet")) for line in EMPTY[1:])]


def _method(board: Leaderboard) -> list[str]:
    if not board.votes:
        return []
    said = ["p: exact two-sided binomial test of the votes that were won; lines: 95 % intervals"]
    if board.bootstrap_rounds:
        rounds = f"{board.bootstrap_rounds} bootstrap rounds"
        said.append(f"strength: Bradley–Terry on Elo's scale, ties one half; {rounds}")
    return said


def _standings(board: Leaderboard, width: int) -> list[Content]:
    available = width - sum(STANDING_WIDTHS) - PLOT_ROOM[0] - 3
    names = _name_width([standing.profile for standing in board.standings], min(NAME_ROOM[1], available))
    with_strength = bool(board.bootstrap_rounds)
    titles = ["votes", "won", "lost", "ties", "bad", "score", *(["strength"] if with_strength else [])]
    head = _cells("profile", names, titles, STANDING_WIDTHS)
    available = _plot_room(width - head.cell_length - 3)
    spans = [_strength_span(standing) for standing in board.standings]
    low, high = axis_of([span for span in spans if span])
    lines = [head.stylize("$quiet")]
    if with_strength and any(spans):
        lines = [(head + "   " + _axis_labels(f"{low:.0f}", f"{high:.0f}", available)).stylize("$quiet")]
    for standing, span in zip(board.standings, spans, strict=True):
        figures = _figures(standing, with_strength=with_strength)
        line = _cells(standing.profile, names, figures, STANDING_WIDTHS)
        plot = line_plot(span, low, high, available) if span else _remark(standing.remark, available)
        lines.append(line + Content.assemble("   ", (plot if with_strength else "", "$primary")))
    return lines


def _figures(standing: Standing, *, with_strength: bool) -> list[str]:
    counts = (standing.votes, standing.wins, standing.losses, standing.ties, standing.both_bad)
    elo = "–" if standing.elo is None else f"{standing.elo:.0f}"
    return [*map(str, counts), f"{standing.score_share:.0%}", *([elo] if with_strength else [])]


def _pairs(board: Leaderboard, width: int) -> list[Content]:
    from engine.votes.leaderboard_text import p_text

    available = width - sum(PAIR_WIDTHS) - PLOT_ROOM[0] - 3
    names = _name_width([f"{pair.a} : {pair.b}" for pair in board.pairs], available)
    head = _cells("pair", names, ["won", "ties", "bad", "p"], PAIR_WIDTHS)
    available = _plot_room(width - head.cell_length - 3)
    lines = [
        (head + "   " + _axis_labels(*PAIR_LABELS[available < LONG_LABELS_FROM], available)).stylize("$quiet")
    ]
    for pair in board.pairs:
        figures = [f"{pair.a_wins} : {pair.b_wins}", str(pair.ties), str(pair.both_bad), p_text(pair.p_value)]
        line = _cells(_pair_name(pair, names), names, figures, PAIR_WIDTHS)
        span = None if pair.a_share is None else Span(pair.a_share_low, pair.a_share, pair.a_share_high)
        plot = line_plot(span, 0.0, 1.0, available, middle=True) if span else ""
        lines.append(line + Content.assemble("   ", (plot, "$primary")))
    return lines


def _pair_name(pair: Pair, width: int) -> str:
    """Both names, the longer one shortened first."""
    a, b = pair.a, pair.b
    while len(a) + len(b) + 3 > width:
        a, b = (a[:-2] + "…", b) if len(a) > len(b) else (a, b[:-2] + "…")
    return f"{a} : {b}"


def axis_of(spans: Sequence[Span]) -> tuple[float, float]:
    """From the lowest to the highest that is finite; never empty."""
    values = [end for span in spans for end in span if end is not None]
    low, high = min(values, default=1000.0), max(values, default=1000.0)
    return (low, high) if high > low else (low - 100, high + 100)


def line_plot(span: Span, low: float, high: float, width: int, *, middle: bool = False) -> str:
    """`   ├──●────┤  `: the value between its ends; `◂` and `▸` where an end is open."""

    def place(value: float) -> int:
        return round((value - low) / (high - low) * (width - 1))

    first = 0 if span.low is None else place(span.low)
    last = width - 1 if span.high is None else place(span.high)
    cells = [" "] * width
    cells[first : last + 1] = "─" * (last + 1 - first)
    if middle:
        cells[place(0.5)] = "┼" if first < place(0.5) < last else "┊"
    cells[first] = "◂" if span.low is None else "├"
    cells[last] = "▸" if span.high is None else "┤"
    cells[place(span.value)] = "●"
    return "".join(cells)


def _strength_span(standing: Standing) -> Span | None:
    return None if standing.elo is None else Span(standing.elo_low, standing.elo, standing.elo_high)


def _remark(text: str, available: int) -> str:
    return Content(text).truncate(available, ellipsis=True).plain.ljust(available)


def _axis_labels(low: str, high: str, available: int) -> Content:
    return Content(low + " " * max(1, available - len(low) - len(high)) + high)


def _name_width(names: Sequence[str], widest: int) -> int:
    return max(NAME_ROOM[0], min(widest, max(map(len, names), default=0)))


def _plot_room(width: int) -> int:
    return max(PLOT_ROOM[0], min(PLOT_ROOM[1], width))


def _cells(name: str, available: int, figures: Sequence[str], widths: Sequence[int]) -> Content:
    shown = Content(visible(name, keep_newlines=False)).truncate(available, ellipsis=True)
    line = shown.extend_right(max(0, available - shown.cell_length))
    return line + "".join(figure.rjust(width) for figure, width in zip(figures, widths, strict=False))
