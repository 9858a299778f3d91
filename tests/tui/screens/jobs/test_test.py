"""A test on the screen: what is asked, both answers side by side, and flips alone."""

from pathlib import Path

import pytest
from textual.widgets import Static

from engine.config.profile import Profile
from engine.recordings.playback import Playback
from engine.session.client import Session
from engine.testing.kept import Kept
from engine.testing.run import Exam
from tests.tui.conftest import Stager
from tests.tui.replay import Stage, recording, wait_until
from tests.unit.engine.testing.samples import A, B, C, finished
from tui.jobs.test import QuestionsJob
from tui.screens.jobs.test import QuestionsScreen
from tui.widgets.figure_table import FigureTable
from tui.widgets.run_progress import RunProgress
from tui.widgets.setup import Setup


async def opened(play: Stage) -> QuestionsScreen:
    await play.ready()
    await play.pilot.press("f11")
    await wait_until(lambda: isinstance(play.app.screen, QuestionsScreen) and play.app.screen.is_mounted)
    screen = play.app.screen
    assert isinstance(screen, QuestionsScreen)
    await wait_until(lambda: screen.query("#answer-1"))
    return screen


def said(screen: QuestionsScreen, name: str) -> str:
    return str(screen.query_one(f"#{name}", Static).render())


async def test_profiles_are_asked_and_their_answers_stand_side_by_side(
    stage: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_session(wanted: Profile, _threads: int | None) -> Session:
        return Playback(wanted, recording(f"{wanted.name}.load"), [recording(f"{wanted.name}.answer")] * 2)

    def make(settings, questions) -> Exam:  # type: ignore[no-untyped-def]
        kept = Kept(tmp_path / "tested.sqlite3")
        return Exam(settings, questions, kept=kept, open_session=open_session)

    init = QuestionsJob.__init__
    monkeypatch.setattr(QuestionsJob, "__init__", lambda job, names: init(job, names, make))
    (file := tmp_path / "mine.jsonl").write_text(
        '{"prompt": "Capital of France?", "regex": "Paris"}\n{"prompt": "1 + 1?", "exact": "2"}\n'
    )
    async with stage(size=(120, 40)) as play:
        screen = await opened(play)
        screen.query_one(Setup).fill("set", str(tmp_path / "none.jsonl"))
        await play.pilot.press("ctrl+r")
        await wait_until(lambda: "no such file" in screen.query_one(RunProgress).render().plain)
        assert not screen.query_one(RunProgress).render().plain.endswith(" s")  # nothing ran
        screen.query_one(Setup).fill("set", str(file))
        await play.pilot.press("ctrl+r")
        await wait_until(lambda: "done" in screen.query_one(RunProgress).render().plain)
        await wait_until(lambda: "✓ A smollm2-bf16" in said(screen, "answer-0"))
        assert "✓ B smollm2-nf4" in said(screen, "answer-1") and "Paris" in said(screen, "answer-1")
        assert "Capital of France?" in said(screen, "asked") and "expected  Paris" in said(screen, "asked")
        screen.query_one("#questions").focus()
        await play.pilot.press("down")
        await wait_until(lambda: "✗ A" in said(screen, "answer-0") and "1 + 1?" in said(screen, "asked"))
        file = tmp_path / "out.jsonl"
        screen.job.export(file)
        assert len(file.read_text().splitlines()) == 2


async def test_flips_alone_and_the_other_models_answers(stage: Stager, tmp_path: Path) -> None:
    async with stage(size=(80, 24)) as play:
        screen = await opened(play)
        screen.job.work = finished(tmp_path, A, B, C)
        screen.show_results()
        table = screen.query_one("#questions", FigureTable)
        await wait_until(lambda: table.row_count == 10)
        figures = screen.query(FigureTable).first()
        await wait_until(lambda: figures.has_class("-cut"))
        assert [str(column.label).strip() for column in figures.ordered_columns][:3] == [
            "profile",
            "right",
            "p",
        ]
        assert figures.region.x + figures.cell_padding == 2  # below the labels of the settings
        for part in ("facts", "notes"):  # wrapped: nothing is cut at the right
            assert "nowrap" not in str(screen.query_one(f".{part}").styles.text_wrap)
        await play.pilot.press("ctrl+t", "ctrl+f")
        await wait_until(lambda: table.row_count == 4 and table.size.width)
        await wait_until(lambda: "right → wrong" in said(screen, "answer-1"))
        assert said(screen, "answer-0").startswith("✓ A")
        await play.pilot.press("ctrl+n")
        await wait_until(lambda: said(screen, "answer-1").startswith("✓ C"))
        await play.pilot.press("ctrl+f")
        await wait_until(lambda: table.row_count == 10)
        assert all(sum(len(str(cell)) for cell in table.get_row_at(row)) < 40 for row in range(10))


async def test_without_flips_the_list_is_empty_and_says_so(stage: Stager, tmp_path: Path) -> None:
    async with stage(size=(120, 40)) as play:
        screen = await opened(play)
        screen.job.work = finished(tmp_path, A, A)
        await play.pilot.press("ctrl+f")
        await wait_until(lambda: "only flips are listed" in said(screen, "asked"))
        assert said(screen, "answer-0") == ""


async def test_nothing_begins_while_the_duel_answers(stage: Stager) -> None:
    async with stage(a={"hold": 2}) as play:
        await play.ready()
        await play.ask("Name three facts about Paris")
        await wait_until(lambda: play.duel.bridge.answering)
        screen = await opened(play)
        await play.pilot.press("ctrl+r")
        await wait_until(lambda: "The duel still answers" in str([*play.app._notifications]))
        assert not screen.is_working
        for session in play.sessions:
            session.go.set()
        await play.settled()
