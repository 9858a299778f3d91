"""Figures against figures worked out by hand."""

import math
import random
import statistics

import pytest

from engine.stats.fidelity import Kld, Scores, against, alone, kld, quantile


def scores(log_probs: list[float], first: list[int], klds: list[float] | None = None) -> Scores:
    found = Scores()
    found.add(log_probs, first, klds or ())
    return found


def test_perplexity_is_the_exponential_of_the_mean_and_its_error_follows() -> None:
    found = alone(scores([math.log(1 / 2), math.log(1 / 8)], [0, 0]))
    assert found.perplexity == pytest.approx(4)
    # -ln p is ln 2 and 3 ln 2: standard deviation √2 ln 2, over √2, times 4
    assert found.perplexity_stderr == pytest.approx(4 * math.log(2))
    assert found.tokens == 2 and found.kld is None and found.same_top is None


def test_a_candidate_against_a_reference() -> None:
    reference = scores([math.log(p) for p in (0.5, 0.5, 0.5, 0.5)], [1, 2, 3, 4])
    candidate = scores([math.log(p) for p in (0.25, 0.5, 0.5, 1.0)], [1, 2, 9, 4], [0.1, 0.0, 0.3, 0.0])
    found = against(candidate, reference)
    assert found.perplexity == pytest.approx(2) and found.perplexity_ratio == pytest.approx(1)
    # the differences of -ln p are ln 2, 0, 0, -ln 2: variance 2/3 ln² 2, over 4
    assert found.perplexity_ratio_stderr == pytest.approx(math.log(2) * math.sqrt(2 / 3 / 4))
    assert found.same_top == pytest.approx(75)
    assert found.same_top_stderr == pytest.approx(100 * math.sqrt(0.75 * 0.25 / 3))
    # changes are -0.25, 0, 0, 0.5: mean square 0.3125 / 4
    assert found.rms_dp == pytest.approx(100 * math.sqrt(0.078125))
    assert found.mean_dp == pytest.approx(100 * 0.0625)
    squares = [0.0625, 0, 0, 0.25]
    error = statistics.stdev(squares) / 2 / (2 * math.sqrt(0.078125))
    assert found.rms_dp_stderr == pytest.approx(100 * error)
    assert found.kld == kld([0.1, 0.0, 0.3, 0.0]) or found.kld is not None
    assert found.kld is not None and found.kld.mean == pytest.approx(0.1)
    assert found.kld.max == pytest.approx(0.3)


def test_percentiles_are_exact() -> None:
    values = list(range(1001))
    random.Random(0).shuffle(values)
    found = kld(values)
    assert found is not None
    assert (found.p50, found.p95, found.p99, found.p999, found.max) == (500, 950, 990, 999, 1000)
    assert found.stderr == pytest.approx(statistics.stdev(values) / math.sqrt(1001))
    assert quantile([1.0, 3.0], 0.25) == 1.5
    assert kld([]) is None
    assert kld([2.0]) == Kld(mean=2, stderr=0, p50=2, p95=2, p99=2, p999=2, max=2)


def test_what_both_find_hard_cancels_out_of_the_ratio() -> None:
    hard = [-random.Random(1).random() * 10 for _ in range(50)]
    hard = [value * index for index, value in enumerate(hard)]
    reference, candidate = scores(hard, [0] * 50), scores([value - 0.01 for value in hard], [0] * 50)
    found = against(candidate, reference)
    assert found.perplexity_ratio == pytest.approx(math.exp(0.01), rel=1e-5)
    assert found.perplexity_ratio_stderr is not None and found.perplexity_ratio_stderr < 1e-5
    assert found.perplexity_stderr is not None and found.perplexity_stderr > 1


def test_a_reference_that_is_ahead_counts_only_where_both_were() -> None:
    reference = scores([-1.0, -2.0, -3.0], [1, 2, 3])
    found = against(scores([-1.0], [1], [0.0]), reference)
    assert (found.tokens, found.perplexity_ratio, found.same_top, found.rms_dp) == (1, 1, 100, 0)
    assert against(Scores(), reference).perplexity is None


def test_a_broken_model_has_infinite_perplexity_and_no_exception() -> None:
    found = against(scores([-1e30, math.nan], [0, 0], [math.nan, 1.0]), scores([-1.0, -1.0], [0, 0]))
    assert found.perplexity == math.inf and found.perplexity_ratio == math.inf
