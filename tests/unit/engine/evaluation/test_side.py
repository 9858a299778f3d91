"""One model of an eval: what a failure costs it, and what is kept of it."""

import pytest
from msgspec.structs import replace

from engine.config import profiles
from engine.evaluation.reading import OTHER_VOCABULARY, Reading
from engine.evaluation.settings import Settings
from engine.evaluation.side import Side
from engine.evaluation.windows import Piece, Text
from engine.protocol.failure import Failed
from engine.protocol.runs import BenchRun, Measured
from engine.protocol.scores import Logits, Passage, Place, Scored
from engine.stats.fidelity import Scores
from tests.unit.engine.bench.samples import INFO, measured
from tests.unit.engine.evaluation.test_verdicts import CONVENTION

TINY = profiles.find("random:tiny")
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


async def test_the_depths_of_a_text_are_counted_once_and_go_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Text] = []
    depths = Text.depths.fget

    def count(text: Text) -> list[int]:
        counted.append(text)
        return depths(text)

    monkeypatch.setattr(Text, "depths", property(count))
    side, reference = Side(TINY, by_depth=True), Scores()
    side.text = Text(convention=CONVENTION, windows=((tuple(range(300)), 1),))
    for read in (1, 2):
        side.scores.add([-1.0] * 64, [3] * 64, [0.5] * 64)
        reference.add([-1.0] * 64, [3] * 64)
        assert sum(depth.tokens for depth in side.row(reference).depths) == 64 * read
    assert [depth.name for depth in side.row(reference).depths] == ["0–127", "128–299"]
    assert len(counted) == 1
    await side.start_anew()
    assert side.row(reference).depths == ()
    side.text = Text(convention=CONVENTION, windows=((tuple(range(100)), 1),))
    side.scores.add([-1.0], [3], [0.5])
    assert [depth.name for depth in side.row(reference).depths] == ["0–99"]


@pytest.mark.parametrize("vocabulary", [512, 640])
async def test_another_number_of_logits_says_why_there_is_no_kld(
    vocabulary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    side, text = Side(TINY), Text(convention=CONVENTION, windows=(((1, 2, 3), 1),))
    side.info, side.text = replace(INFO, vocabulary=vocabulary), text
    references: list[Logits | None] = []

    async def score(_: Passage, *, write: Place | None, reference: Logits | None) -> Scored:
        references.append(reference)
        return Scored(request=1, log_probs=(-1.0, -1.0), first_choices=(2, 3))

    monkeypatch.setattr(side.session, "score", score)
    logits = Logits(place=Place(path="/none"), positions=2, vocabulary=512, dtype="float32")
    reading = Reading(Settings(profiles=(TINY, TINY)), lambda _: None, [side])
    for _ in range(2):
        await reading.read(side, Piece(passage=Passage(token_ids=(1, 2, 3), first=1), at=0), reference=logits)
    assert references == [logits if vocabulary == 512 else None] * 2
    assert list(side.row(None).notes) == ([OTHER_VOCABULARY] if vocabulary == 640 else [])
