"""Exact binomial figures against scipy's."""

import pytest
from scipy.stats import binomtest

from engine.stats import binomial


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (0, 6), (3, 3), (20, 3), (700, 600)])
def test_exact_figures_at_the_edges(wins: int, losses: int) -> None:
    assert 0 <= binomial.two_sided_p(wins, losses) <= 1
    low, high = binomial.share_interval(wins, losses)
    if wins + losses:
        interval = binomtest(wins, wins + losses).proportion_ci(method="exact")
        assert (low, high) == (pytest.approx(interval.low, abs=1e-9), pytest.approx(interval.high, abs=1e-9))
    else:
        assert (low, high) == (0, 1) and binomial.two_sided_p(0, 0) == 1
