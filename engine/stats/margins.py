"""How much of the reference's margins a candidate keeps: damage shows here before a choice changes. Pure.

A margin is how much likelier the reference's first choice is than its second, in nats. What counts is what
the candidate makes of the same two tokens, where the reference's own margin is more than rounding.
"""

import math
from collections.abc import Sequence
from statistics import median

from msgspec import Struct


class Margins(Struct, frozen=True, kw_only=True):
    """The margins of all positions at which the reference is decided: its margin is above the noise there."""

    decided: int
    """How many these are."""
    kept: float
    """The median of the candidate's margin over the reference's, for the same two tokens; 1 is all of it."""
    lost: float
    """Of the decided positions, in per cent: those where the candidate's margin is not above the noise."""
    lost_stderr: float
    """Binomial, in per cent."""


def margins(reference: Sequence[float], candidate: Sequence[float], noise: Sequence[float]) -> Margins | None:
    """Margins and their noise in nats, position by position; None where the reference is never decided."""
    decided = [
        (theirs, ours, least)
        for theirs, ours, least in zip(reference, candidate, noise, strict=False)
        if theirs > least
    ]
    if not decided:
        return None
    count = len(decided)
    lost = sum(ours <= least for _, ours, least in decided) / count
    return Margins(
        decided=count,
        kept=median(ours / theirs for theirs, ours, _ in decided),
        lost=100 * lost,
        lost_stderr=100 * math.sqrt(lost * (1 - lost) / max(1, count - 1)),
    )
