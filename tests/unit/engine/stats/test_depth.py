"""Figures by depth: which position is in which bucket, whose figures are those of its positions."""

import pytest

from engine.stats import depth
from engine.stats.depth import by_depth
from engine.stats.fidelity import Scores, against


@pytest.mark.parametrize(
    ("deepest", "found"),
    [
        (0, [0, 128, 512]),
        (511, [0, 128, 512]),
        (512, [0, 128, 512, 1024]),
        (8191, [0, 128, 512, 1024, 2048, 4096, 8192]),
    ],
)
def test_buckets_double_from_512_on(deepest: int, found: list[int]) -> None:
    assert depth.bounds(deepest) == found


def scores(klds: list[float], choice: int) -> Scores:
    found = Scores()
    found.add([-1.0 - each for each in klds], [choice if each > 0.25 else 7 for each in klds], klds)
    return found


def test_a_buckets_figures_are_those_of_its_positions_in_every_window() -> None:
    depths = [1, 127, 128, 511, 512, 1, 600]
    klds = [0.125, 0.125, 0.5, 0.25, 1.0, 0.5, 3.0]
    own, theirs = scores(klds, 3), scores([0.0] * 9, 3)  # the reference has gone further
    found = by_depth(own, theirs, depths)
    assert [(each.name, each.tokens) for each in found] == [("0–127", 3), ("128–511", 2), ("512–600", 2)]
    assert [each.kld.mean for each in found if each.kld] == [0.25, 0.375, 2.0]
    first = against(scores([0.125, 0.125, 0.5], 3), scores([0.0] * 3, 3))
    assert (found[0].kld, found[0].same_top) == (first.kld, first.same_top)
    assert found[0].perplexity_ratio == first.perplexity_ratio
    begun = by_depth(scores(klds[:3], 3), theirs, depths)
    assert [(each.name, each.tokens) for each in begun] == [("0–127", 2), ("128–511", 1)]
    assert by_depth(Scores(), theirs, []) == by_depth(Scores(), theirs, depths) == ()
