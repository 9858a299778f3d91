"""One model of an eval: what a failure costs it, and what is kept of it."""

import pytest

from engine.config import profile
from engine.evaluation.reading import Reading
from engine.evaluation.settings import Settings
from engine.evaluation.side import Side
from engine.protocol import BenchRun, Failed, Measured
from tests.unit.engine.bench.samples import measured

TINY = profile.find("random:tiny")
LOST = Failed(kind="worker_lost", message="the worker ended with exit code 1")


@pytest.mark.parametrize("complete", [True, False])
async def test_what_fails_after_the_text_is_read_leaves_the_figures_and_a_note(
    complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Side(TINY)
    answers: list[Measured | Failed] = [measured(1, 2), measured(1, 2), LOST]

    async def measure(_: BenchRun) -> Measured | Failed:
        return answers.pop(0)

    monkeypatch.setattr(side.session, "measure", measure)
    side.complete = complete
    if complete:
        await Reading(Settings(profiles=(TINY, TINY)), lambda _: None, [side]).close(side)
    else:
        await side.time_decode(4, 2, [])
    row = side.row(None)
    assert len(row.decode_samples_tok_s) == 1
    assert row.error == (None if complete else LOST.failure)
    assert row.notes == (
        (f"its decode speed was not timed again at the end: {LOST.message}",) if complete else ()
    )
