"""An answer's figures at one moment, and the two ways a figure is drawn: as a bar and as a sparkline.

Pure: knows no widget and no clock. Every speed comes from the stamps the worker made.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct

from engine.protocol.model import Memory
from engine.stats.metrics import NS, Metrics

if TYPE_CHECKING:
    from engine.duel.answer import Answer

SPARKS = "▁▂▃▄▅▆▇█"
SPARK_SLOTS = 48
TOKENS_PER_SLOT = 3  # fewer would draw the grain of the stamps, not the speed


class Figures(Struct, frozen=True, kw_only=True):
    """What the strip below an answer shows."""

    metrics: Metrics
    live_tok_s: float | None
    speeds_tok_s: tuple[float, ...]
    """Decode speed over the answer's time, in equal slots."""
    prefilled_tokens: int
    memory: Memory | None


def figures_of(answer: Answer) -> Figures:
    """The figures of an answer so far."""
    return Figures(
        metrics=answer.metrics,
        live_tok_s=answer.timeline.live_tok_s(),
        speeds_tok_s=speeds(answer.timeline.token_ns),
        prefilled_tokens=answer.timeline.prefilled_tokens,
        memory=answer.memory,
    )


def speeds(token_ns: Sequence[int], slots: int = SPARK_SLOTS) -> tuple[float, ...]:
    """Tokens a second in equal slots of the time from the first token to the last; empty while too few."""
    slots = min(slots, (len(token_ns) - 1) // TOKENS_PER_SLOT)
    if slots < 1 or token_ns[-1] <= token_ns[0]:
        return ()
    first, span_ns = token_ns[0], token_ns[-1] - token_ns[0]
    counts = [0] * slots
    for stamp_ns in token_ns[1:]:
        counts[min(slots - 1, (stamp_ns - first) * slots // span_ns)] += 1
    return tuple(count * slots * NS / span_ns for count in counts)


def sparkline(values: Sequence[float], width: int, top: float = 0.0) -> str:
    """The values in at most `width` characters, neighbours averaged; full is `top` or the highest."""
    values = _narrowed(values, width)
    top = max([top, *values])
    if top <= 0:
        return ""
    return "".join(SPARKS[min(len(SPARKS) - 1, int(value / top * len(SPARKS)))] for value in values)


def bar(part: float, width: int) -> tuple[str, str]:
    """The filled and the empty stretch of a bar, `width` characters together; anything above 0 shows."""
    if width < 1:
        return "", ""
    halves = round(max(0.0, min(1.0, part)) * width * 2)
    if part > 0:
        halves = max(1, halves)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return filled, "─" * (width - len(filled))


def _narrowed(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values, each the mean of its neighbours."""
    count = min(width, len(values))
    edges = [index * len(values) // count for index in range(count + 1)] if count > 0 else []
    return [sum(values[left:right]) / (right - left) for left, right in pairwise(edges)]
