"""A test's order, what it keeps and what it says, on sessions that play recorded answers."""

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine import cli
from engine.config.profile import Profile
from engine.config.profiles import find
from engine.errors import InputError
from engine.jobs.events import Advanced, Completed, Noted
from engine.recordings.playback import Playback
from engine.session.client import Session
from engine.testing.items import Item
from engine.testing.kept import Kept
from engine.testing.questions import of_items
from engine.testing.run import Exam
from engine.testing.settings import Settings
from tests.tui.replay import recording

NAMES = ("smollm2-bf16", "smollm2-nf4")
SET = of_items("mine", [Item(id=f"q{n}", prompt=str(n), regex="(?i)pyramid|river|the") for n in range(3)])


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "data" / "tested.sqlite3")


def says(*answers: str) -> Callable[[Profile, int | None], Session]:
    """Every session answers so, one recording after the other."""

    def opened(wanted: Profile, _threads: int | None) -> Session:
        given = [recording(f"{wanted.name}.{answer}") for answer in answers]
        return Playback(wanted, recording(f"{wanted.name}.load"), given)

    return opened


def exam(kept: Kept, *answers: str) -> Exam:
    profiles = tuple(find(name) for name in NAMES)
    return Exam(Settings(profiles=profiles), SET, kept=kept, open_session=says(*answers))


async def words(job: Exam, kind: type) -> list[str]:
    return [event.words async for event in job.run() if isinstance(event, kind)]


async def test_one_model_after_the_other_is_asked_everything(kept: Kept) -> None:
    job = exam(kept, *["answer"] * 3)
    told = [event async for event in job.run() if not isinstance(event, Noted)]
    whose = [event.what for event in told]
    assert whose == sorted(whose), "A is over before B begins"
    assert [event.what for event in told if isinstance(event, Completed)] == list(NAMES)
    assert "smollm2-bf16: question 3 of 3, 100 % right so far" in [event.words for event in told]
    first, other = job.report.rows
    assert first.accuracy and first.accuracy.right == 3 and first.complete
    assert other.against and other.against.both_right == 3 and other.p_value == 1
    assert job.failure is None


async def test_left_early_it_goes_on_where_it_was(kept: Kept) -> None:
    cut = exam(kept, *["answer"] * 3)
    async with aclosing(cut.run()) as events:
        async for event in events:
            if isinstance(event, Advanced) and event.words.startswith("smollm2-nf4: question 2"):
                break
    assert [len(side.answers) for side in cut.sides] == [3, 1]
    again = exam(kept, *["answer"] * 2)
    asked_for = await words(again, Advanced)
    assert not any(each.startswith("smollm2-bf16") for each in asked_for), "A is not even loaded"
    assert [row.from_before for row in again.report.rows] == [3, 1]
    assert all(row.complete for row in again.report.rows)


async def test_the_first_questions_alone_count_those_alone(kept: Kept) -> None:
    await words(exam(kept, *["answer"] * 3), Noted)
    first = replace(SET, questions=SET.questions[:2])
    profiles = tuple(find(name) for name in NAMES)
    job = Exam(Settings(profiles=profiles), first, kept=kept, open_session=says())
    assert await words(job, Noted) == []
    for row in job.report.rows:
        assert row.complete and row.accuracy and row.accuracy.count == row.from_before == 2


async def test_answers_of_other_versions_do_not_count(kept: Kept) -> None:
    cut = exam(kept, "answer")
    async with aclosing(cut.run()) as events:
        async for event in events:
            if isinstance(event, Advanced) and "question 2" in event.words:
                break
    side = cut.sides[0]
    assert side.info
    kept.loaded(side.run, replace(side.info, versions={"torch": "0.1"}))
    again = exam(kept, *["answer"] * 3)
    notes = await words(again, Noted)
    assert notes == ["smollm2-bf16: its versions changed since its earlier answers (1), which do not count"]
    assert [row.from_before for row in again.report.rows] == [0, 0]


async def test_a_worker_that_ends_costs_its_own_answers_alone(kept: Kept) -> None:
    job = exam(kept, "answer", "killed")
    await words(job, Noted)
    for row in job.report.rows:
        assert row.error and row.error.kind == "worker_lost"
        assert row.accuracy and row.accuracy.count == 1 and not row.complete


async def test_a_file_that_cannot_be_used_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    job = exam(Kept(tmp_path / "data" / "tested.sqlite3"), *["answer"] * 3)
    (note,) = await words(job, Noted)
    assert "answers are not kept" in note and str(tmp_path) in note
    assert all(row.complete for row in job.report.rows)


def test_bad_input_is_said_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="two models at least"):
        Exam(Settings(profiles=(find(NAMES[0]),)), SET)
    assert cli.run(["test", NAMES[0], "--set", "arithmetic"]) == 2
    assert cli.run(["test", *NAMES, "--set", "temperature=0.7"]) == 2
    assert "no set of questions named" in capsys.readouterr().err
    assert cli.run(["test", *NAMES, "--set", "arithmetic", "--max-drop", "101"]) == 2
    assert cli.run(["test", *NAMES, "--set", "arithmetic", "--max-drop", "nan"]) == 2
    assert "nan is not a finite number" in capsys.readouterr().err
