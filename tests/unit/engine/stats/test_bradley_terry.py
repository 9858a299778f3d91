"""Strengths by hand, and by a general optimizer."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import minimize

from engine.stats import bradley_terry
from engine.stats.bradley_terry import Game


def reference_elo(players: int, games: Sequence[Game]) -> list[float]:
    """Bradley–Terry by a general optimizer, from the likelihood's definition."""

    def loss(free: np.ndarray) -> float:
        theta = np.concatenate([[0.0], free])
        return sum(
            s * np.logaddexp(0, theta[j] - theta[i]) + (1 - s) * np.logaddexp(0, theta[i] - theta[j])
            for i, j, s in games
        )

    found = minimize(loss, np.zeros(players - 1), method="BFGS", options={"gtol": 1e-9}).x
    theta = np.concatenate([[0.0], found])
    return list(1000 + 400 / math.log(10) * (theta - theta.mean()))


def test_bradley_terry_by_hand() -> None:
    """Two players, three to one: odds of 3, so 400 · log10(3) apart."""
    found = bradley_terry.strengths(2, bradley_terry.scores_of([(0, 1, 1.0)] * 3 + [(1, 0, 1.0)]))
    assert found.elo[0] - found.elo[1] == pytest.approx(400 * math.log10(3))
    assert sum(found.elo) == pytest.approx(2000)


def test_a_lopsided_fit_converges() -> None:
    games: list[Game] = [(0, 1, 1.0)] * 999 + [(1, 0, 1.0), (1, 2, 1.0), (2, 1, 1.0)]
    found = bradley_terry.strengths(3, bradley_terry.scores_of(games))
    assert found.elo == pytest.approx(reference_elo(3, games), abs=0.01)


def test_intervals_repeat_with_their_seed_and_shrink_with_votes() -> None:
    draw = random.Random(3)
    games = [(*draw.sample(range(3), 2), draw.choice([0.0, 0.5, 1.0])) for _ in range(60)]
    once, again = (bradley_terry.intervals(3, games, rounds=100, seed=5) for _ in range(2))
    assert once == again
    wide, narrow = once[0], bradley_terry.intervals(3, games * 9, rounds=100, seed=5)[0]
    assert wide and narrow
    assert narrow.high - narrow.low == pytest.approx((wide.high - wide.low) / 3, rel=0.35)
