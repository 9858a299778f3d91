"""A divergence of which some tokens alone are known: never more than the divergence itself."""

import math
import random

import pytest

from engine.stats.lower_bound import at_least


def log_softmax(logits: list[float]) -> list[float]:
    norm = math.log(math.fsum(map(math.exp, logits)))
    return [logit - norm for logit in logits]


@pytest.mark.parametrize("seed", range(20))
def test_no_choice_of_tokens_makes_the_bound_more_than_the_divergence(seed: int) -> None:
    drawn = random.Random(seed)
    count, scale = drawn.randint(2, 300), drawn.choice((0.01, 1, 8))
    log_p, log_q = (log_softmax([drawn.gauss(0, scale) for _ in range(count)]) for _ in range(2))
    exact = math.fsum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True))
    assert at_least(log_p, log_q)[0] == pytest.approx(exact, abs=2e-5)
    ids, before = drawn.sample(range(count), count), 0.0
    for known in (ids[:size] for size in (0, count // 3, 2 * count // 3)):
        bound, left_out = at_least([log_p[each] for each in known], [log_q[each] for each in known])
        assert before - 1e-9 <= bound <= exact + 2e-5  # more tokens never make it less
        assert left_out == pytest.approx(1 - math.fsum(math.exp(log_p[each]) for each in known), abs=1e-9)
        before = bound


def test_a_token_without_probability_counts_with_the_others() -> None:
    assert at_least([math.log(0.5), -math.inf], [math.log(0.25), math.log(0.7)]) == pytest.approx(
        (0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75), 0.5)
    )
    assert at_least([], []) == (0.0, 1.0)


def test_what_is_no_number_stays_none() -> None:
    assert math.isnan(at_least([-0.1, -3.0], [math.nan, math.nan])[0])
