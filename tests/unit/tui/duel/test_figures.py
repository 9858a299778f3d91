"""Bars and sparklines, and that a speed comes from the stamps alone."""

import pytest

from engine.duel.answer import Answer
from engine.stats.metrics import NS
from tests.tui.replay import recording
from tui.duel.figures import bar, figures_of, sparkline, speeds


@pytest.mark.parametrize(
    ("part", "filled"),
    [(0.0, ""), (0.0001, "╸"), (0.5, "━━━━━"), (0.55, "━━━━━╸"), (1.0, "━" * 10), (7.0, "━" * 10), (-1, "")],
)
def test_a_bar_keeps_its_width(part: float, filled: str) -> None:
    left, right = bar(part, 10)
    assert left == filled
    assert len(left + right) == 10


def test_a_sparkline_is_relative_to_its_highest() -> None:
    assert sparkline([0, 4, 8], 9) == "▁▅█"
    assert sparkline([0, 4, 8], 9, top=16) == "▁▃▅"
    assert sparkline([], 9) == ""
    assert sparkline([0, 0], 9) == ""


def test_a_narrow_sparkline_shows_all_of_the_time() -> None:
    assert sparkline([1, 1, 8, 8], 2) == "▂█"
    assert len(sparkline(range(1, 49), 7)) == 7


def test_speeds_are_tokens_over_the_stamps() -> None:
    steady = [index * NS // 10 for index in range(61)]
    assert speeds(steady, slots=4) == pytest.approx((10, 10, 10, 10), rel=0.1)
    assert speeds(steady[:2]) == ()
    assert speeds([]) == ()


def test_speeds_show_a_pause() -> None:
    stamps = [*range(0, 10 * NS, NS), *range(40 * NS, 50 * NS, NS)]
    course = speeds(stamps, slots=5)
    assert course[0] > 4 * course[2]


def test_figures_of_a_recorded_answer() -> None:
    answer = Answer()
    for event in recording("smollm2-bf16.answer"):
        answer.add(event)
    figures = figures_of(answer)
    assert figures.metrics == answer.metrics
    assert figures.memory is answer.memory
    mean = sum(figures.speeds_tok_s) / len(figures.speeds_tok_s)
    assert mean == pytest.approx(figures.metrics.decode_tok_s, rel=0.02)
