"""What a bench measures, in which order."""

import pytest

from engine.bench import plan
from engine.bench.plan import Settings, Shape
from engine.bench.served_trial import ServedTrial
from engine.bench.trial import Open
from engine.config import profiles
from engine.session.client import Session
from tests.unit.engine.bench.samples import INFO, TINY, settings


def test_the_matrix_goes_batch_after_batch() -> None:
    shapes = settings(batches=(1, 4)).shapes
    assert shapes == (Shape(32, 1), Shape(64, 1), Shape(32, 4), Shape(64, 4))


def test_a_row_warms_up_at_its_own_shape_and_takes_its_peak_apart() -> None:
    warm_up, peak, *timed = settings(steps=100, repeat=3).runs(Shape(64, 4))
    assert (warm_up.context, warm_up.batch, warm_up.with_memory) == (64, 4, False)
    assert peak.with_memory and peak.steps == 100
    assert len(timed) == 3 and {(run.steps, run.with_memory) for run in timed} == {(100, False)}


def test_depth_puts_the_context_into_the_cache() -> None:
    run = settings(depth=True).run(Shape(512, 2))
    assert (run.depth, run.context) == (512, plan.FOLLOW_UP_TOKENS)


@pytest.mark.parametrize(
    "asked",
    [
        settings(steps=100, repeat=3),
        settings(steps=100, concurrency=(1, 16)),
        settings(steps=100, batches=(1, 4)),
        settings(generator="hf"),
        settings(depth=True),
    ],
)
def test_a_served_row_is_as_much_work_as_its_trial_does(asked: Settings) -> None:
    served = profiles.of_model("http://127.0.0.1:9/v1")
    side = Open(served.name, Session(served), INFO, None)
    for shape in asked.shapes:
        trial = ServedTrial(side, asked, shape, 0, print)
        parts = [*trial.before(), *map(trial.repeat, range(trial.repeats))]
        done = 0.0 if trial.failure else sum(part.work for part in parts)
        assert asked.row_work(shape, served) == pytest.approx(done)


def test_a_workers_row_is_all_its_runs() -> None:
    found = settings(steps=100, repeat=3).row_work(Shape(64, 4), TINY)
    assert found == 5 * 4 * 64 * plan.PREFILL_COST + plan.WARM_UP_STEPS + 4 * 100
