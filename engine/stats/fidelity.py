"""How far a candidate is from a reference, out of what both say at the same positions of a text. Pure.

Owns the figures and their errors; knows neither models nor texts. The formulas are those of llama.cpp's
`perplexity --kl-divergence`. Every position counts once and as independent of the others, as it does there.
"""

import math
from array import array
from collections.abc import Iterable, Sequence
from operator import eq, mul, sub

from msgspec import Struct

from engine.stats.margins import Margins, margins

PERCENT = 100.0


class Kld(Struct, frozen=True, kw_only=True):
    """KL(reference ‖ candidate) over positions, in nats."""

    mean: float
    stderr: float
    """Of the mean: the sample's standard deviation over √n; 0 for a single position."""
    p50: float
    p95: float
    p99: float
    p999: float
    """The 99.9th percentile. All percentiles are exact, interpolated linearly between two positions."""
    max: float


class Figures(Struct, frozen=True, kw_only=True):
    """What is known of one model; None is what was not measured. A reference has none against itself."""

    tokens: int = 0
    """Positions scored."""
    perplexity: float | None = None
    """exp of the mean negative log-likelihood."""
    perplexity_stderr: float | None = None
    """Perplexity × the standard error of that mean."""
    perplexity_ratio: float | None = None
    """The candidate's over the reference's."""
    perplexity_ratio_stderr: float | None = None
    """From the differences position by position: what both find hard cancels out (covariance)."""
    kld: Kld | None = None
    kld_is_bound: bool = False
    """Whether that is a lower bound: some likeliest tokens were compared, all others as one."""
    kld_top_k: int = 0
    """How many were compared at each position; 0 is all."""
    kld_tail: float | None = None
    """The reference's mean probability of all others, as one; None where all were compared."""
    same_top: float | None = None
    """Positions at which both have the same first choice, in per cent."""
    same_top_stderr: float | None = None
    """Binomial, in per cent."""
    rms_dp: float | None = None
    """Root mean square of the change in the probability of the text's own token, in percentage points."""
    rms_dp_stderr: float | None = None
    mean_dp: float | None = None
    """The mean of that change: below 0 the candidate knows the text less well. Percentage points."""
    mean_dp_stderr: float | None = None
    margins: Margins | None = None
    """What is kept of the reference's margins between its first two choices."""

    @property
    def kld_sign(self) -> str:
        """What stands before a KLD, and before a name that a KLD alone stands for: nothing, or `≥ `."""
        return "≥ " if self.kld_is_bound else ""


class Scores:
    """What one model said, position after position; grows while a text is read."""

    def __init__(self) -> None:
        self.log_probs = array("f")
        """Natural logarithms of the probability of the text's own token."""
        self.first_choices = array("l")
        self.klds = array("f")
        """Against the reference; empty where there is none."""
        self.margins = array("f")
        """Between the reference's first two choices, in nats; empty where there is no reference."""
        self.reference_margins = array("f")
        self.reference_rounding = array("f")

    def add(
        self, log_probs: Iterable[float], first_choices: Iterable[int], klds: Iterable[float] = ()
    ) -> None:
        """Take the next positions."""
        self.log_probs.extend(log_probs)
        self.first_choices.extend(first_choices)
        self.klds.extend(klds)

    def add_margins(
        self, margins: Iterable[float], reference: Iterable[float], rounding: Iterable[float]
    ) -> None:
        """Take this model's margins at the next positions, the reference's, and the rounding in these."""
        self.margins.extend(margins)
        self.reference_margins.extend(reference)
        self.reference_rounding.extend(rounding)

    def at(self, places: Sequence[int]) -> "Scores":
        """Those of some positions alone, without margins."""
        found = Scores()
        found.add(
            [self.log_probs[place] for place in places],
            [self.first_choices[place] for place in places],
            [self.klds[place] for place in places] if self.klds else (),
        )
        return found

    def __len__(self) -> int:
        return len(self.log_probs)


def alone(scores: Scores) -> Figures:
    """Perplexity of one model."""
    count = len(scores)
    if not count:
        return Figures()
    mean, stderr = estimate(scores.log_probs)
    value = _exp(-mean)
    return Figures(tokens=count, perplexity=value, perplexity_stderr=value * stderr)


def against(scores: Scores, reference: Scores) -> Figures:
    """All figures of a candidate; `reference` may have gone further, only common positions count."""
    count = len(scores)
    if not count:
        return Figures()
    own = alone(scores)
    known = reference.log_probs[:count]
    log_ratio, log_ratio_stderr = estimate(array("d", map(sub, known, scores.log_probs)))
    ratio = _exp(log_ratio)
    same, same_stderr = _share(map(eq, scores.first_choices, reference.first_choices), count)
    changes = list(map(sub, map(math.exp, scores.log_probs), map(math.exp, known)))
    rms_dp, rms_dp_stderr = _rms(changes)
    mean_dp, mean_dp_stderr = estimate(changes)
    return Figures(
        tokens=count,
        perplexity=own.perplexity,
        perplexity_stderr=own.perplexity_stderr,
        perplexity_ratio=ratio,
        perplexity_ratio_stderr=ratio * log_ratio_stderr,
        kld=kld(scores.klds),
        same_top=same * PERCENT,
        same_top_stderr=same_stderr * PERCENT,
        rms_dp=rms_dp * PERCENT,
        rms_dp_stderr=rms_dp_stderr * PERCENT,
        mean_dp=mean_dp * PERCENT,
        mean_dp_stderr=mean_dp_stderr * PERCENT,
        margins=_margins(scores),
    )


def _margins(scores: Scores) -> Margins | None:
    """None as well where a server did not tell both tokens everywhere: the others would be a choice."""
    if len(scores.margins) != len(scores.klds):
        return None
    return margins(scores.reference_margins, scores.margins, scores.reference_rounding)


def kld(values: Sequence[float]) -> Kld | None:
    """The divergences of all positions in figures; None where there are none."""
    if not values:
        return None
    mean, stderr = estimate(values)
    ordered = sorted(values)
    p50, p95, p99, p999 = (quantile(ordered, share) for share in (0.5, 0.95, 0.99, 0.999))
    return Kld(mean=mean, stderr=stderr, p50=p50, p95=p95, p99=p99, p999=p999, max=ordered[-1])


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the ordered values is, interpolated linearly."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def estimate(values: Sequence[float]) -> tuple[float, float]:
    """Mean of at least one value, and its standard error: √(variance / n) with n − 1 in the variance."""
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2 or not math.isfinite(mean):
        return mean, 0.0
    deviations = [value - mean for value in values]
    return mean, math.sqrt(math.fsum(map(mul, deviations, deviations)) / (count - 1) / count)


def share_error(hits: int, count: int) -> float:
    """The binomial error of a share: √(p (1 − p) / (n − 1))."""
    share = hits / max(1, count)
    return math.sqrt(share * (1 - share) / max(1, count - 1))


def _share(hits: Iterable[bool], count: int) -> tuple[float, float]:
    """How many of `count`, and the binomial error."""
    found = sum(hits)
    return found / count, share_error(found, count)


def _rms(values: Sequence[float]) -> tuple[float, float]:
    """√(mean of squares), and its error: half of that of the mean square, over the root."""
    mean, stderr = estimate(list(map(mul, values, values)))
    root = math.sqrt(mean)
    return root, stderr / (2 * root) if root else 0.0


def _exp(value: float) -> float:
    """e to this power; infinity beyond what a float holds, and for no number."""
    return math.exp(value) if value < 700 else math.inf
