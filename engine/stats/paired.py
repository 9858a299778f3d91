"""Two models on the same questions: who is right where the other is not, and whether that is chance. Pure.

Only the questions on which they differ say anything: without a difference each of these is a fair coin's
toss, which is McNemar's test (1947), here exact.
"""

from collections.abc import Iterable
from math import sqrt

from msgspec import Struct

from engine.stats.binomial import two_sided_p
from engine.stats.verdict import Z95

PERCENT = 100.0


class Paired(Struct, frozen=True, kw_only=True):
    """How often each outcome was, for a first model and a second one."""

    both_right: int = 0
    to_wrong: int = 0
    """The first is right, the second is not."""
    to_right: int = 0
    """The second is right, the first is not."""
    both_wrong: int = 0

    @property
    def count(self) -> int:
        """All questions."""
        return self.both_right + self.to_wrong + self.to_right + self.both_wrong

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided; 1 where they never differ."""
        return two_sided_p(self.to_wrong, self.to_right)

    @property
    def difference(self) -> float:
        """The second's accuracy less the first's, in percentage points."""
        return (self.to_right - self.to_wrong) / max(1, self.count) * PERCENT

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference, in percentage points (Agresti & Min 2005).

        Half a question is added to each outcome, so that it has a width where the two never differ.
        """
        count, lost, won = self.count + 2, self.to_wrong + 0.5, self.to_right + 0.5
        middle = (won - lost) / count
        half = Z95 * sqrt(max(0.0, (won + lost) / count - middle**2) / count)
        return max(-1.0, middle - half) * PERCENT, min(1.0, middle + half) * PERCENT


def paired(outcomes: Iterable[tuple[bool, bool]]) -> Paired:
    """The counts of (first is right, second is right), a pair a question."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for outcome in outcomes:
        counts[outcome] += 1
    return Paired(
        both_right=counts[True, True],
        to_wrong=counts[True, False],
        to_right=counts[False, True],
        both_wrong=counts[False, False],
    )
