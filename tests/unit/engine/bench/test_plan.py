"""What a bench measures, in which order."""

from engine.bench import plan
from engine.bench.plan import Shape
from tests.unit.engine.bench.samples import settings


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
