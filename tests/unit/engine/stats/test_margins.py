"""Margins worked out by hand."""

import math

import pytest

from engine.stats.fidelity import Scores, against
from engine.stats.margins import margins


def test_only_where_the_reference_is_decided_counts() -> None:
    found = margins([2.0, 1.0, 4.0, 0.1, 0.2], [1.0, -1.0, 4.0, 9.0, 9.0], [0.125, 0.125, 0.125, 0.125, 0.2])
    assert found is not None and found.decided == 3
    assert found.kept == 0.5  # of 0.5, -1 and 1
    assert found.lost == pytest.approx(100 / 3)
    assert found.lost_stderr == pytest.approx(100 * math.sqrt(2 / 9 / 2))


def test_a_reference_that_is_never_decided_has_none() -> None:
    assert margins([0.1], [0.1], [0.125]) is None and margins([], [], []) is None


def test_they_are_among_a_candidates_figures() -> None:
    reference, candidate = Scores(), Scores()
    reference.add([-1.0], [7])
    candidate.add([-1.0], [7], [0.0])
    candidate.add_margins([1.5], [2.0], [0.125])
    found = against(candidate, reference).margins
    assert found is not None and (found.kept, found.lost, found.decided) == (0.75, 0.0, 1)
