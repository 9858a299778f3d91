"""Quantizing on the screen, as a recorded worker told it."""

import asyncio
import csv
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.widgets import Input, OptionList

from engine.checkpoints import layer_errors
from engine.checkpoints.text import perplexity_text
from engine.config import environments
from engine.config.methods import Awq
from engine.config.profiles import find
from engine.errors import InputError, LoadError
from engine.protocol.failure import Failed
from engine.protocol.loading import Quantized, Staged
from engine.protocol.wire import Event
from engine.session.client import Session
from tests.tui.conftest import Stager
from tests.tui.replay import Stage, recording, wait_until
from tui.jobs.quantize import QuantizeJob, savable
from tui.screens.ask import ProfilesDialog, SaveDialog
from tui.screens.jobs.quantize import QuantizeScreen
from tui.widgets.figure_table import FigureTable
from tui.widgets.run_progress import RunProgress
from tui.widgets.setup import Setup


class Quantizer(Session):
    """Tells what a real one told; waits before its last event. A failure instead, where there is one."""

    made: "list[Quantizer]" = []
    failure: Failed | None = None

    async def quantize(self, out: str | None = None, *, force: bool = False) -> AsyncIterator[Event]:
        self.force, self.go, self.closed = force, asyncio.Event(), False
        Quantizer.made.append(self)
        *staged, last = recording("quantize")
        for event in staged:
            await asyncio.sleep(0)
            yield event
        await self.go.wait()
        yield self.failure or last

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def quantizers(monkeypatch: pytest.MonkeyPatch) -> list[Quantizer]:
    """The sessions that the screen opens."""
    Quantizer.made = []
    init = QuantizeJob.__init__
    monkeypatch.setattr(QuantizeJob, "__init__", lambda job, name: init(job, name, Quantizer))
    return Quantizer.made


async def started(play: Stage, quantizers: list[Quantizer]) -> QuantizeScreen:
    """The screen, with a quantizer that has only its last event to tell."""
    await play.ready()
    await play.pilot.press("f8")
    await wait_until(lambda: isinstance(play.app.screen, QuantizeScreen))
    screen = play.app.screen
    assert isinstance(screen, QuantizeScreen)
    await wait_until(lambda: screen.query("FigureTable"))
    screen.query_one(Setup).fill("profiles", "smollm2-gptq4")
    await wait_until(lambda: "in the store" in words(screen))
    await play.pilot.press("ctrl+r")
    await wait_until(lambda: quantizers and screen.is_working)
    return screen


def words(screen: QuantizeScreen) -> str:
    return screen.query_one(RunProgress).render().plain


async def test_a_checkpoint_is_made_and_its_losses_are_shown(
    stage: Stager, quantizers: list[Quantizer], tmp_path: Path
) -> None:
    done = recording("quantize")[-1]
    assert isinstance(done, Quantized)
    async with stage() as play:
        screen = await started(play, quantizers)
        last = [event for event in recording("quantize") if isinstance(event, Staged)][-1]
        await wait_until(lambda: last.stage in words(screen))
        quantizers[0].go.set()
        await wait_until(lambda: "done: it is in the store" in words(screen))
        assert quantizers[0].force and quantizers[0].closed
        table = screen.query_one(FigureTable)
        rows = layer_errors.rows(done.record.errors)
        assert table.row_count == len(rows) > 0
        assert str(table.get_row_at(0)[-1]) == rows[0]["log scale"]
        facts = screen.query_one(".facts")
        await wait_until(lambda: perplexity_text(done.record) in str(facts.render()))
        await play.pilot.resize_terminal(80, 40)
        below = re.compile(r"^perplexity   482.*\n {13}\S", re.MULTILINE)
        await wait_until(lambda: below.search(str(facts.render())), "it goes on below its fact")
        await play.pilot.press("ctrl+s")
        await wait_until(lambda: isinstance(play.app.screen, SaveDialog) and play.app.screen.query(Input))
        play.app.screen.query_one(Input).value = str(tmp_path / "lost.csv")
        await play.pilot.press("enter")
        await wait_until((tmp_path / "lost.csv").exists)
        written = list(csv.DictReader((tmp_path / "lost.csv").read_text().splitlines()))
        assert len(written) == len(done.record.errors) and float(written[0]["loss"]) > 0


async def test_the_time_left_is_told_once(stage: Stager, quantizers: list[Quantizer]) -> None:
    async with stage(size=(200, 50)) as play:
        screen = await started(play, quantizers)
        await wait_until(lambda: "2 of 2" in words(screen))
        assert words(screen).count(" left") <= 1 and "so far" not in words(screen)
        assert words(screen).count("100 %") == 1


async def test_one_profile_is_picked(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("f8")
        await wait_until(
            lambda: isinstance(play.app.screen, QuantizeScreen) and play.app.screen.query("Setup")
        )
        screen = play.app.screen
        await play.pilot.press("ctrl+o")
        await wait_until(lambda: isinstance(play.app.screen, ProfilesDialog) and play.app.screen.query(Input))
        dialog = play.app.screen
        dialog.query_one(Input).value = "smollm2-awq4"
        await wait_until(lambda: dialog.query_one(OptionList).option_count in range(1, 5))
        await play.pilot.press("enter")
        await wait_until(lambda: play.app.screen is screen)
        assert screen.query_one(Setup).values["profiles"] == "smollm2-awq4"


async def test_a_name_means_the_side_as_it_is_now(stage: Stager) -> None:
    async with stage() as play:
        await play.ready()
        await play.pilot.press("f8")
        await wait_until(lambda: isinstance(play.app.screen, QuantizeScreen) and play.app.screen.query(Setup))
        screen, side = play.app.screen, play.duel.sides[1]
        assert isinstance(screen, QuantizeScreen)
        side.profile = replace(side.profile, name="put-there-later")
        screen.query_one(Setup).fill("profiles", "put-there-later")
        await wait_until(lambda: "in the store" in words(screen) or "needs" in words(screen), words(screen))


async def test_escape_ends_the_worker(stage: Stager, quantizers: list[Quantizer]) -> None:
    async with stage() as play:
        screen = await started(play, quantizers)
        await play.pilot.press("escape")
        await wait_until(lambda: quantizers[0].closed and "stopped: nothing was made" in words(screen))


async def test_a_failure_is_told(
    stage: Stager, quantizers: list[Quantizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Quantizer, "failure", Failed(kind="generation", message="no [b]room", hint="free 3 GiB")
    )
    async with stage() as play:
        screen = await started(play, quantizers)
        quantizers[0].go.set()
        await wait_until(lambda: "no [b]room (free 3 GiB)" in words(screen))


def test_a_method_without_checkpoints_is_refused() -> None:
    with pytest.raises(InputError, match="makes no checkpoint"):
        savable("smollm2-bf16")


def test_a_method_of_an_original_package_needs_its_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    job = QuantizeJob("original")
    job.sides = [replace(find("random:tiny"), name="original", quantization=Awq(backend="autoawq"))]
    monkeypatch.setattr(environments, "missing", lambda name: LoadError(f"there is no {name} here"))
    assert job.look("original")[0] == "there is no autoawq here"
    with pytest.raises(InputError, match="there is no autoawq here"):
        job.prepare({"profiles": "original", "out": ""})
    monkeypatch.setattr(environments, "missing", lambda name: None)
    assert job.look("original")[0].startswith("not in the store yet")
