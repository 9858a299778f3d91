"""Verdicts against limits worked out by hand."""

import math

import pytest
from msgspec.structs import replace

from engine.stats.fidelity import Figures, Kld
from engine.stats.verdict import GOOD, Limits, grade, more_positions, verdict, wilson
from engine.stats.verdict_text import sentence


def figures(
    kld: float, stderr: float = 0.0, same_top: float = 97.0, ratio: float = 1.0, tokens: int = 10_000
) -> Figures:
    return Figures(
        tokens=tokens,
        kld=Kld(mean=kld, stderr=stderr, p50=kld, p95=kld, p99=kld, p999=kld, max=kld),
        same_top=same_top,
        perplexity_ratio=ratio,
        perplexity_ratio_stderr=0.001,
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (figures(0.0), "identical"),
        (figures(0.0108, ratio=1.0091, same_top=96), "near lossless"),  # llama.cpp's Q5_K_M
        (figures(0.031273, ratio=1.02816, same_top=91.901), "good"),  # its Q4_K_M
        (figures(0.108903, ratio=1.107955, same_top=85.584), "noticeably different"),  # Llama 2 7B, Q2_K
        (figures(0.445132, ratio=1.564849, same_top=71.138), "damaged"),  # Llama 3 8B, Q2_K
        (figures(0.001, same_top=70), "damaged"),
        (figures(math.nan), "damaged"),
        (Figures(tokens=5, perplexity=3.0), None),
    ],
)
def test_the_worst_figure_decides_the_grade(found: Figures, expected: str | None) -> None:
    assert grade(found) == expected


@pytest.mark.parametrize(
    ("kld", "stderr", "expected"),
    [
        (0.040, 0.005, "good enough"),
        (0.060, 0.005, "not good enough"),
        (0.045, 0.005, "undecided"),
        (0.055, 0.005, "undecided"),
        (math.nan, 0.0, "not good enough"),
        (math.inf, 0.0, "not good enough"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(kld: float, stderr: float, expected: str) -> None:
    assert verdict(figures(kld, stderr), Limits(max_kld=0.05)).decision == expected


def test_undecided_says_how_many_positions_more_would_do() -> None:
    found = verdict(figures(0.045, 0.005, tokens=1000), Limits(max_kld=0.05))
    # the half width 1.96 · 0.005 must become 0.005: 1.96² times as many
    assert found.more_positions == math.ceil(1000 * (1.959964**2 - 1))
    again = verdict(figures(0.045, 0.005 / 1.959964, tokens=3842), Limits(max_kld=0.05))
    assert again.decision == "good enough"
    assert more_positions(0.0, 0.1, 1000) is None and more_positions(1e-9, 0.1, 1000) is None


def test_few_positions_decide_nothing_and_one_bad_figure_all() -> None:
    few = verdict(figures(0.001, tokens=20), Limits(max_kld=0.05))
    assert few.decision == "undecided" and few.more_positions == 80
    assert verdict(figures(0.001, same_top=50)).decision == "not good enough"
    both = verdict(figures(0.045, 0.005, same_top=50), GOOD)
    assert both.decision == "not good enough"


def test_what_was_not_compared_is_undecided() -> None:
    alone = verdict(Figures(tokens=5000, perplexity=3.0))
    assert (alone.decision, alone.grade, alone.more_positions) == ("undecided", None, None)
    assert {check.outcome for check in alone.checks} == {"not measured"}


def test_equal_first_choices_everywhere_are_still_a_sample() -> None:
    low, high = wilson(1.0, 100)
    assert high == 1.0 and low == pytest.approx(0.96300, abs=1e-4)  # n / (n + z²)
    assert wilson(0.5, 10_000) == pytest.approx((0.4902, 0.5098), abs=1e-4)
    sure = verdict(figures(0.0, same_top=100.0, tokens=100), Limits(min_same_top=99))
    assert sure.decision == "undecided"


def test_a_lower_bound_can_only_show_that_it_is_too_much() -> None:
    good, bad = (replace(figures(kld), kld_is_bound=True) for kld in (0.001, 0.5))
    assert verdict(good).decision == "undecided" and verdict(good).grade is None
    assert verdict(bad).decision == "not good enough"
    assert "KLD at least 0.5" in sentence(bad, verdict(bad), GOOD)
