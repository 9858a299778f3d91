"""Is a candidate good enough? Its figures against limits, as far as their errors allow a verdict. Pure.

Owns the grades and the rule; knows neither models nor words for a user. A figure is within a limit where its
whole 95 % interval is, over it where none of the interval is, and otherwise undecided. The grades' bounds are
QuantDuel's own convention, set next to llama.cpp's figures for Llama 3 8B (docs/measuring.md has both).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from engine.stats.fidelity import PERCENT, Figures

Z95 = 1.959964
"""Half the width of a normal 95 % interval, in standard errors."""
LEAST_POSITIONS = 100
"""Below so many a mean of skewed values has no interval that is worth the name."""
FARTHEST = 1000.0
"""A verdict that needs more than so many times the text is none that one waits for."""

Outcome = Literal["within", "over", "undecided", "not measured"]
Decision = Literal["good enough", "not good enough", "undecided"]
Grade = Literal["identical", "near lossless", "good", "noticeably different", "damaged"]
Figure = Literal["KLD", "same top", "perplexity ratio"]


class Limits(Struct, frozen=True, kw_only=True):
    """What a candidate must keep to; None is no limit."""

    max_kld: float | None = None
    """Of the mean KLD, in nats."""
    min_same_top: float | None = None
    """In per cent."""
    max_ppl_ratio: float | None = None


NEAR_LOSSLESS = Limits(max_kld=0.02, min_same_top=95.0, max_ppl_ratio=1.01)
"""As Q5_K_M and what is finer: KLD 0.011 and less, ratio 1.009; Q6_K has 96.0 % same top."""
GOOD = Limits(max_kld=0.05, min_same_top=90.0, max_ppl_ratio=1.05)
"""As Q4_K_M, what most people run: KLD 0.031, 91.9 %, ratio 1.028."""
NOTICEABLE = Limits(max_kld=0.2, min_same_top=80.0, max_ppl_ratio=1.2)
"""As Q4_0 and Q3_K_M, 0.072 to 0.102 and 1.075 to 1.105. Beyond is what Q2_K does: 0.445, 71.1 %, 1.565."""
GRADES: tuple[tuple[Grade, Limits], ...] = (
    ("near lossless", NEAR_LOSSLESS),
    ("good", GOOD),
    ("noticeably different", NOTICEABLE),
)


class Check(Struct, frozen=True, kw_only=True):
    """One figure against its limit."""

    figure: Figure
    limit: float
    value: float | None
    low: float | None = None
    """The 95 % interval's ends: normal for means, Wilson's (1927) for the same top."""
    high: float | None = None
    outcome: Outcome
    more_positions: int | None = None
    """How many more positions would decide, were value and scatter to stay; None where decided or far off."""


class Verdict(Struct, frozen=True, kw_only=True):
    """Whether a candidate is good enough, and why."""

    decision: Decision
    grade: Grade | None
    """By the figures themselves, whatever the limits are; None without a KLD, and with a bound of it."""
    checks: tuple[Check, ...]
    """Of every limit there is."""

    @property
    def more_positions(self) -> int | None:
        """How many more positions would decide all that is undecided; None where that cannot be said."""
        needed = [check.more_positions for check in self.checks if check.outcome == "undecided"]
        known = [count for count in needed if count is not None]
        return max(known) if known and len(known) == len(needed) else None


def verdict(figures: Figures, limits: Limits = GOOD) -> Verdict:
    """The verdict on a candidate; one that was not compared is undecided."""
    checks = tuple(_checks(figures, limits))
    outcomes = {check.outcome for check in checks}
    decision: Decision = "undecided"
    if "over" in outcomes:
        decision = "not good enough"
    elif outcomes == {"within"}:
        decision = "good enough"
    return Verdict(decision=decision, grade=grade(figures), checks=checks)


def grade(figures: Figures) -> Grade | None:
    """The best grade whose bounds all figures keep to, errors left aside."""
    if figures.kld is None or figures.kld_is_bound:
        return None
    if figures.kld.max == 0:
        return "identical"
    return next((name for name, bounds in GRADES if _keeps(figures, bounds)), "damaged")


def _keeps(figures: Figures, bounds: Limits) -> bool:
    return all(
        check.value is not None and _excess(check.figure, check.value, check.limit) <= 0
        for check in _checks(figures, bounds)
    )


def _checks(figures: Figures, limits: Limits) -> Iterator[Check]:
    if limits.max_kld is not None:
        mean, error = (figures.kld.mean, figures.kld.stderr) if figures.kld else (None, None)
        check = _of_mean("KLD", mean, error, limits.max_kld, figures.tokens)
        is_open = figures.kld_is_bound and check.outcome in {"within", "undecided"}
        yield replace(check, outcome="undecided", more_positions=None) if is_open else check
    if limits.min_same_top is not None:
        yield _of_share(figures, limits.min_same_top)
    if limits.max_ppl_ratio is not None:
        ratio, error = figures.perplexity_ratio, figures.perplexity_ratio_stderr
        yield _of_mean("perplexity ratio", ratio, error, limits.max_ppl_ratio, figures.tokens)


def _of_mean(figure: Figure, value: float | None, error: float | None, limit: float, count: int) -> Check:
    if value is None or error is None:
        return Check(figure=figure, limit=limit, value=None, outcome="not measured")
    half = Z95 * error
    return _check(figure, value, (value - half, value + half), limit, count)


def _of_share(figures: Figures, limit: float) -> Check:
    if figures.same_top is None:
        return Check(figure="same top", limit=limit, value=None, outcome="not measured")
    interval = wilson(figures.same_top / PERCENT, figures.tokens)
    low, high = (end * PERCENT for end in interval)
    return _check("same top", figures.same_top, (low, high), limit, figures.tokens)


def _check(figure: Figure, value: float, interval: tuple[float, float], limit: float, count: int) -> Check:
    low, high = interval
    outcome = _outcome([_excess(figure, end, limit) for end in interval], count)
    more = None
    if outcome == "undecided":
        more = more_positions(value - limit, (high - low) / 2, count)
    return Check(
        figure=figure, limit=limit, value=value, low=low, high=high, outcome=outcome, more_positions=more
    )


def _outcome(excesses: Sequence[float], count: int) -> Outcome:
    if not all(map(math.isfinite, excesses)):
        return "over"
    if count < LEAST_POSITIONS or min(excesses) <= 0 < max(excesses):
        return "undecided"
    return "over" if min(excesses) > 0 else "within"


def _excess(figure: Figure, value: float, limit: float) -> float:
    """How far a value is beyond its limit."""
    return limit - value if figure == "same top" else value - limit


def more_positions(distance: float, half_width: float, count: int) -> int | None:
    """How many positions more make an interval as narrow as the distance to the limit: it shrinks with √n."""
    if not (math.isfinite(distance) and distance):
        return None
    factor = max((half_width / distance) ** 2, LEAST_POSITIONS / max(1, count))
    return math.ceil(count * (factor - 1)) if 1 < factor <= FARTHEST else None


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` trials (Wilson 1927): none of zero width at 0 and 1."""
    square = Z95 * Z95 / max(1, count)
    middle = (share + square / 2) / (1 + square)
    half = Z95 * math.sqrt(share * (1 - share) / max(1, count) + square / max(1, count) / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
