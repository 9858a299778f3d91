"""What a trial's row says of its worker's runs."""

import dataclasses

import pytest
from msgspec.structs import replace

from engine.bench.plan import Shape
from engine.bench.trial import Open, Trial
from engine.protocol.runs import BenchRun, Measured
from tests.unit.engine.bench.samples import INFO, measured, settings


@dataclasses.dataclass
class MeasuredSession:
    """A worker whose runs have given figures."""

    results: list[Measured]
    pid: int = 1

    async def measure(self, run: BenchRun, *, threads: int | None) -> Measured:
        return self.results.pop(0)


@pytest.mark.parametrize(
    ("given", "fewest", "marks"),
    [(None, (2, 2), ()), (None, (2, 1), ("on 1 of 2 threads",)), (1, (1, 1), ())],
)
async def test_threads_that_others_took_are_marked(
    given: int | None, fewest: tuple[int, int], marks: tuple[str, ...]
) -> None:
    """Those of the timed runs; fewer that were asked for are no loss."""
    one = measured(250, 350)
    session = MeasuredSession([replace(one, threads=threads) for threads in (1, *fewest)])
    trial = Trial(Open("tiny", session, INFO, None), settings(), Shape(32, 1))
    trial.threads, trial.marks = given, ("contended",)
    await trial.take_peak(BenchRun(context=32, steps=2))
    for _ in fewest:
        await trial.time(BenchRun(context=32, steps=2))
    assert trial.row().marks == ("contended", *marks)
