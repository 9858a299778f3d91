"""Joules and watts in figures and in words."""

from typing import get_args

import pytest

from engine.protocol.model import Energy, Lack
from engine.stats import energy

IDLE = Energy(counter="NVML", idle_watts=62.34)


def test_joules_are_of_the_tokens_after_the_first_and_watts_of_the_time_between_them() -> None:
    stamps_ns = [10**9, 2 * 10**9, 3 * 10**9]
    assert energy.joules_per_token(6.0, 2) == 3.0 and energy.mean_watts(6.0, stamps_ns) == 3.0
    assert energy.joules_per_token(None, 2) is energy.joules_per_token(6.0, 0) is None
    assert energy.mean_watts(6.0, stamps_ns[:1]) is energy.mean_watts(6.0, []) is None


@pytest.mark.parametrize("lack", [lack for lack in get_args(Lack) if lack])
def test_every_lack_has_its_words(lack: Lack) -> None:
    assert energy.line(None, None, Energy(lack=lack)) == f"J/token –: {energy.WHY[lack]}"


def test_a_line_has_the_answer_s_figures_and_the_idle_draw() -> None:
    shared = Energy(counter="NVML", idle_watts=62.34, idle_is_shared=True)
    still = Energy(counter="NVML")
    assert energy.line(0.1234, 345.6, IDLE) == "0.123 J/token, mean 346 W, idle 62.3 W"
    assert energy.line(0.1234, 345.6, shared, contended=True) == (
        "0.123 J/token, mean 346 W (contended), idle 62.3 W (others were on the device)"
    )
    assert energy.line(0.1234, 345.6, still) == (
        "0.123 J/token, mean 346 W, idle – (the counter gave no figure)"
    )
    assert energy.line(0.1234, 1345.6, None) == "0.123 J/token, mean 1346 W"
    assert not energy.line(None, None, None)
