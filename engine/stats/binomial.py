"""Exact statistics of a pair: is the coin between two players fair, and how often does the first win?

Pure numbers; nothing is approximated by a normal distribution, because votes are few.
"""

from collections.abc import Callable
from math import comb, exp, lgamma, log

CONFIDENCE = 0.95
HALVINGS = 60  # of the interval that holds a bound: as exact as a float


def two_sided_p(wins: int, losses: int) -> float:
    """How likely a fair coin gives a result at least as lopsided as this one; 1 where there is none."""
    games = wins + losses
    tail = sum(comb(games, k) for k in range(min(wins, losses) + 1))
    return min(1.0, float(2 * tail / 2**games))


def share_interval(wins: int, losses: int) -> tuple[float, float]:
    """The exact 95 % interval of the first one's share of wins (Clopper & Pearson 1934)."""
    games, alpha = wins + losses, (1 - CONFIDENCE) / 2
    low = _root(lambda p: 1 - at_most(wins - 1, games, p) - alpha) if wins else 0.0
    high = _root(lambda p: alpha - at_most(wins, games, p)) if losses else 1.0
    return low, high


def at_most(k: int, games: int, p: float) -> float:
    """The probability of at most `k` wins in `games` games, each won with probability 0 < `p` < 1."""
    logs = (_log_comb(games, i) + i * log(p) + (games - i) * log(1 - p) for i in range(k + 1))
    return sum(map(exp, logs))


def _log_comb(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _root(rising: Callable[[float], float]) -> float:
    """Where a function that rises from 0 to 1 crosses zero."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
