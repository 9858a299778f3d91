"""The one estimate of the time left."""

import pytest

from engine.jobs.pace import Pace, StagePace
from engine.protocol.loading import Staged


def layers(done: int, seconds: float) -> Staged:
    return Staged(
        stage="quantize",
        step="quantize layers",
        done=done,
        total=10,
        unit="layers",
        peak_bytes=1,
        ns=int(seconds * 1e9),
    )


def test_the_rest_takes_as_long_as_what_is_done_took() -> None:
    pace = Pace(left=10)
    assert (pace.share, pace.left_s) == (0.0, None)
    pace.add(2, 10.0)
    assert (pace.share, pace.left_s) == (0.2, 40.0)


def test_a_stage_is_paced_from_where_it_was_first_seen_and_runs_down_between_counts() -> None:
    pace = StagePace()
    assert pace.take(layers(2, 100)) == (pytest.approx(0.2), None)
    assert pace.take(layers(4, 110)) == (pytest.approx(0.4), 30)
    assert pace.take(layers(4, 112)) == (pytest.approx(0.4), 28)  # the worker's clock ticks, nothing is done
    assert pace.take(layers(4, 990)) == (pytest.approx(0.4), 0)
    assert pace.take(layers(5, 1000)) == (pytest.approx(0.5), 1500)


def test_another_stage_has_a_pace_of_its_own() -> None:
    pace = StagePace()
    pace.take(layers(0, 0))
    assert pace.take(layers(5, 50)) == (0.5, 50)
    assert pace.take(Staged(stage="read", step="load result", ns=60 * 10**9)) == (None, None)
    measuring = Staged(stage="quantize", step="measure result", done=1, total=2, ns=61 * 10**9)
    assert pace.take(measuring) == (0.5, None)


def test_the_time_left_follows_the_pace() -> None:
    pace = Pace()
    pace.left = 100
    assert pace.left_s is None
    pace.add(25, seconds=5)
    assert (pace.share, pace.left_s) == (0.25, 15)
