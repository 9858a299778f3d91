"""The screens of long work, on recorded runs."""

import asyncio
import json
from pathlib import Path

import pytest
from textual import events
from textual.widgets import Input

from engine.bench import text as bench_texts
from engine.bench.document import Document
from engine.evaluation import text as eval_texts
from engine.jobs.events import Advanced, Completed, JobEvent
from engine.results import Results
from tests.tui.conftest import Stager
from tests.tui.recorded_jobs import RecordedBench, RecordedEvaluation
from tests.tui.replay import Stage, wait_until
from tui.charts.plot import Plot
from tui.jobs.bench import BenchJob
from tui.jobs.eval import EvalJob
from tui.screens.ask import EarlierDialog, ProfilesDialog, SaveDialog
from tui.screens.jobs.kept import KeptScreen
from tui.widgets.figure_table import FigureTable
from tui.widgets.run_progress import RunProgress
from tui.widgets.setup import Setup

BENCH = {
    "profiles": "random-tiny-bf16 random-tiny-nf4",
    "contexts": "16, 64,4096",
    "steps": "8",
    "repeat": "2",
}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results.sqlite")


async def opened(play: Stage, key: str, results: Results) -> KeptScreen:
    await play.ready()
    await play.pilot.press(key)
    await wait_until(lambda: isinstance(play.app.screen, KeptScreen) and play.app.screen.is_mounted)
    screen = play.app.screen
    assert isinstance(screen, KeptScreen)
    await wait_until(lambda: screen.query("FigureTable"))
    screen._results = results
    return screen


def set_up(screen: KeptScreen, values: dict[str, str]) -> None:
    for key, value in values.items():
        screen.query_one(Setup).fill(key, value)


def words(screen: KeptScreen) -> str:
    return screen.query_one(RunProgress).render().plain


def shown(screen: KeptScreen) -> list[dict[str, str]]:
    """What stands in the table, row by row."""
    table = screen.query_one(FigureTable)
    names = [str(column.label).strip() for column in table.ordered_columns]
    rows = [table.get_row_at(place) for place in range(table.row_count)]
    return [dict(zip(names, map(str, row), strict=True)) for row in rows]


class HeldBench(RecordedBench):
    """Waits after its second row."""

    def __init__(self, document: Document) -> None:
        super().__init__(document)
        self.filled, self.go = 0, asyncio.Event()

    async def pause(self, event: JobEvent) -> None:
        self.filled += isinstance(event, Completed)
        if self.filled == 3:
            await self.go.wait()


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch) -> list[HeldBench]:
    """The benches that screens start."""
    made: list[HeldBench] = []

    def make(document: Document) -> HeldBench:
        made.append(HeldBench(document))
        return made[-1]

    init = BenchJob.__init__
    monkeypatch.setattr(BenchJob, "__init__", lambda job, names, **more: init(job, names, make, **more))
    return made


async def test_what_is_typed_after_tab_goes_to_the_next_field(stage: Stager, results: Results) -> None:
    """However fast: the keys are there before the first field has looked at any of them."""
    async with stage() as play:
        screen = await opened(play, "f5", results)
        for key in "1\t\b2\t3":
            name = {"\t": "tab", "\b": "ctrl+u"}.get(key, key)
            play.app.post_message(events.Key(name, key))
        found = ("profiles", "contexts", "batches")
        await wait_until(lambda: screen.query_one("#field-batches", Input).value.endswith("3"))
        first, second, third = (screen.query_one(f"#field-{name}", Input).value for name in found)
        assert first.endswith("1") and second == "2" and third.endswith("3") and len(third) > 1


async def test_a_bench_fills_its_table_and_plots(
    stage: Stager, results: Results, benches: list[HeldBench], tmp_path: Path
) -> None:
    async with stage() as play:
        screen = await opened(play, "f5", results)
        assert screen.query_one("#field-profiles", Input).value == "smollm2-bf16 smollm2-nf4"
        set_up(screen, BENCH)
        await play.pilot.press("enter")
        await wait_until(lambda: benches and benches[0].filled == 3)
        await wait_until(lambda: [row["decode tok/s"] != "–" for row in shown(screen)].count(True) == 2)
        widths = [column.width for column in screen.query_one(FigureTable).ordered_columns[:-1]]
        assert len(shown(screen)) == 6  # the whole matrix stands from the beginning
        assert "%" in words(screen) and "left" in words(screen)
        benches[0].go.set()
        await wait_until(lambda: "done: kept" in words(screen) and shown(screen)[-1]["remarks"])
        assert [column.width for column in screen.query_one(FigureTable).ordered_columns[:-1]] == widths
        assert shown(screen)[-1]["remarks"] == "4104 tokens do not fit the model's context window of 2048"
        done = benches[0].document
        expected = [bench_texts.cells(row, with_batches=False) for row in done.rows]
        assert shown(screen) == [{name: str(cell) for name, cell in row.items()} for row in expected]
        decode, memory = (plot.chart for plot in screen.query(Plot))
        assert decode and memory and [len(line.points) for line in (*decode.lines, *memory.lines)] == [2] * 4
        assert decode.lines[0].points[0] == (16.0, done.rows[0].decode_tok_s.mean)  # type: ignore[union-attr]
        await exports(play, screen, tmp_path / "bench.json")
        written = json.loads((tmp_path / "bench.json").read_text())
        assert len(written["rows"]) == 6
        await wait_until(lambda: results.runs("bench"))
        await compares(play, screen)


async def exports(play: Stage, screen: KeptScreen, file: Path) -> None:
    await play.pilot.press("ctrl+s")
    await wait_until(lambda: isinstance(play.app.screen, SaveDialog) and play.app.screen.query(Input))
    play.app.screen.query_one(Input).value = str(file)
    await play.pilot.press("enter")
    await wait_until(file.exists)
    await wait_until(lambda: play.app.screen is screen)


async def compares(play: Stage, screen: KeptScreen) -> None:
    await play.pilot.press("f4")
    await wait_until(
        lambda: isinstance(play.app.screen, EarlierDialog) and play.app.screen.query("OptionList")
    )
    await play.pilot.press("down", "c")
    await wait_until(lambda: "then" in shown(screen)[0])
    assert [row["change"] for row in shown(screen)] == ["×1.00"] * 4 + [""] * 2


async def test_escape_stops_a_bench_and_keeps_its_rows(
    stage: Stager, results: Results, benches: list[HeldBench]
) -> None:
    async with stage() as play:
        screen = await opened(play, "f5", results)
        set_up(screen, BENCH)
        await play.pilot.press("ctrl+r")
        await wait_until(lambda: benches and benches[0].filled == 3)
        await play.pilot.press("escape")
        await wait_until(lambda: benches[0].ended and not screen.is_working)
        await wait_until(lambda: "stopped" in words(screen))
        assert [row["decode tok/s"] != "–" for row in shown(screen)].count(True) == 2
        await wait_until(lambda: results.runs("bench"))
        assert len(json.loads(results.run_body(results.runs("bench")[0].id))["rows"]) == 2
        await play.pilot.press("escape")
        await wait_until(lambda: play.app.screen is play.duel)
        await play.pilot.press("f5")  # as it was left
        await wait_until(lambda: play.app.screen is screen)
        assert len(shown(screen)) == 6


async def test_a_wrong_setting_is_told_and_nothing_runs(
    stage: Stager, results: Results, benches: list[HeldBench]
) -> None:
    async with stage(size=(80, 24)) as play:
        screen = await opened(play, "f5", results)
        for values, said in (
            ({"contexts": "many"}, "contexts: 'many' is no list"),
            ({"contexts": "16", "profiles": "smollm2-bf61"}, "no profile named 'smollm2-bf61'"),
        ):
            set_up(screen, values)
            await play.pilot.press("ctrl+r")
            await wait_until(lambda said=said: said in words(screen))
        assert not benches
        assert not screen.query_one(".plots").display
        await play.pilot.press("ctrl+t")
        assert screen.query_one(".plots").display and not screen.query_one(FigureTable).display


async def test_the_duels_models_are_put_aside_and_taken_up(
    stage: Stager, results: Results, benches: list[HeldBench]
) -> None:
    async with stage() as play:
        screen = await opened(play, "f5", results)
        set_up(screen, BENCH)
        screen.query_one("Checkbox").value = True  # type: ignore[attr-defined]
        await play.pilot.press("ctrl+r")
        await wait_until(lambda: benches and all(session.closed for session in play.sessions[:2]))
        benches[0].go.set()
        await wait_until(lambda: not screen.is_working)
        for session in play.sessions[:2]:
            session.died.set()  # a real one ends when it is closed
        await wait_until(lambda: not any(side.loaded for side in play.duel.sides))
        await play.pilot.press("escape")
        await wait_until(lambda: len(play.sessions) == 4)
        await play.ready()


async def test_profiles_are_picked_from_the_list(stage: Stager, results: Results) -> None:
    async with stage() as play:
        screen = await opened(play, "f6", results)
        await play.pilot.press("ctrl+o")
        await wait_until(lambda: isinstance(play.app.screen, ProfilesDialog) and play.app.screen.query(Input))
        dialog = play.app.screen
        dialog.query_one(Input).value = "smollm2-int8"
        await wait_until(lambda: dialog.query_one("OptionList").option_count == 1)  # type: ignore[attr-defined]
        await play.pilot.press("tab", "enter")
        await wait_until(lambda: play.app.screen is screen)
        assert screen.query_one(Setup).values["profiles"] == "smollm2-bf16 smollm2-nf4 smollm2-int8"


async def test_eval_ranks_by_kld(stage: Stager, results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    init = EvalJob.__init__
    monkeypatch.setattr(EvalJob, "__init__", lambda job, names: init(job, names, RecordedEvaluation))
    async with stage() as play:
        screen = await opened(play, "f6", results)
        set_up(screen, {"profiles": "smollm2-bf16 smollm2-nf4 smollm2-int8"})
        await play.pilot.press("ctrl+r")
        await wait_until(lambda: words(screen).find("done: kept") > 0)
        job = screen.job
        assert isinstance(job, EvalJob) and job.found
        rows = shown(screen)
        assert [row["profile"] for row in rows] == ["smollm2-bf16 (reference)", "smollm2-int8", "smollm2-nf4"]
        expected = eval_texts.readable(job.found)[1:]
        assert rows[1:] == [{name: str(cell) for name, cell in row.items()} for row in expected]
        sizes, speeds = (plot.chart for plot in screen.query(Plot))
        assert sizes and speeds and len(sizes.lines) == len(speeds.lines) == 2
        assert "4 windows of 128" in str(screen.query_one(".facts").render())
        notes = str(screen.query_one(".notes").render())
        assert "smollm2-nf4: not good enough: KLD" in notes and notes.startswith("pick: smollm2-int8, ")
        assert "★ no other model" in str(screen.query_one(".facts").render())
        await wait_until(lambda: results.runs("fidelity"))
        await play.pilot.resize_terminal(80, 24)
        await play.pilot.press("ctrl+t")
        await wait_until(lambda: all("┤" in plot.render().plain for plot in screen.query(Plot)), "drawn")


async def test_a_real_bench_through_its_job(tmp_path: Path) -> None:
    job = BenchJob(["random-tiny-bf16"])
    job.prepare(
        {"profiles": "random-tiny-bf16", "contexts": "16", "batches": "1", "steps": "4", "repeat": "1"}
    )
    told = [event async for event in job.run()]
    assert {"warm-up", "memory", "repeat 1 of 1"} <= {event.words.partition(": ")[2] for event in told}
    shares = [event.share for event in told if isinstance(event, Advanced)]
    assert all(0 <= share <= 1 for share in shares if share is not None)
    (row,) = job.picture.rows
    assert row["decode tok/s"] != "–" and row["remarks"] is not None
    kept = job.body()
    assert kept
    again = BenchJob([])
    again.open(kept)
    assert again.picture.rows == job.picture.rows
    job.export(tmp_path / "bench.csv")
    assert (tmp_path / "bench.csv").read_text().startswith("profile,label")
