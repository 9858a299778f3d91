"""Accuracies and flips against scipy, and against a count by hand."""

import random
from math import sqrt

import pytest
from scipy import stats

from engine.stats.paired import Paired, paired
from engine.stats.verdict import wilson


@pytest.mark.parametrize(("to_wrong", "to_right"), [(0, 0), (1, 0), (15, 3), (4, 9), (40, 60), (700, 801)])
def test_the_p_value_is_scipys_exact_test_of_a_fair_coin(to_wrong: int, to_right: int) -> None:
    found = Paired(both_right=5, to_wrong=to_wrong, to_right=to_right, both_wrong=7)
    flips = to_wrong + to_right
    expected = stats.binomtest(to_wrong, flips, 0.5).pvalue if flips else 1.0
    assert found.p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("right", "count"), [(0, 10), (28, 80), (80, 80), (1, 1)])
def test_the_interval_of_an_accuracy_is_scipys(right: int, count: int) -> None:
    expected = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert wilson(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_outcomes_are_counted_as_by_hand() -> None:
    pairs = [(True, True), (True, False), (True, False), (False, True), (False, False)]
    found = paired(pairs)
    assert (found.both_right, found.to_wrong, found.to_right, found.both_wrong) == (1, 2, 1, 1)
    assert found.count == 5 and found.difference == -20
    assert found.p_value == 1.0


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says() -> None:
    """10 000 samples of 80 questions, of which 15 % flip to wrong and 5 % to right."""
    rng, truth, covered = random.Random(1), -10.0, 0
    for _ in range(10_000):
        lost = sum(rng.random() < 0.2 for _ in range(80))
        won = sum(rng.random() < 0.25 for _ in range(lost))
        low, high = Paired(to_wrong=lost - won, to_right=won, both_wrong=80 - lost).interval
        covered += low <= truth <= high
    assert abs(covered / 10_000 - 0.95) < 4 * sqrt(0.95 * 0.05 / 10_000) + 0.01


def test_models_that_never_differ_are_not_proved_equal() -> None:
    low, high = Paired(both_right=10).interval
    assert low < 0 < high and low == pytest.approx(-high)
