"""The first start: one screen that says what was found, which profiles fit, and plays the demo."""

from pathlib import Path

import pytest
from textual.widgets import OptionList, Static

from engine.config.profiles import find
from tests.tui.replay import Replay, wait_until
from tui.app import QuantDuelApp
from tui.commands.play import _is_first_start
from tui.launch import Launch
from tui.screens.profiles import Entry, Fit, ProfilePicker
from tui.screens.replay import ReplayBar, ReplayScreen
from tui.screens.welcome import WelcomeScreen, fits_content

NOTHING = {"prompt": "", "schedule": None, "max_new_tokens": None, "seed": None, "assignments": ()}


def _app() -> QuantDuelApp:
    profiles = find("smollm2-bf16"), find("smollm2-nf4")
    return QuantDuelApp(*profiles, Replay, launch=Launch(explains=True))


def _text(app: QuantDuelApp, place: str) -> str:
    return str(app.screen.query_one(place, Static).render())


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_it_says_what_is_here_and_what_fits(size: tuple[int, int]) -> None:
    app = _app()
    async with app.run_test(size=size):
        assert isinstance(app.screen, WelcomeScreen)
        await wait_until(lambda: "cores" in _text(app, "#found"))
        await wait_until(lambda: "smollm2-nf4" in _text(app, "#fits"))
        assert app.screen.query_one(OptionList).option_count == 3
        assert app.duel_screen._bridge is None, "nothing is loaded"


async def test_the_demo_plays_and_one_comes_back(tmp_path: Path) -> None:
    app = _app()
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("enter")
        await wait_until(lambda: isinstance(app.screen, ReplayScreen) and app.screen.is_mounted)
        await wait_until(lambda: "turn 1 of 2" in app.screen.query_one(ReplayBar).render().plain)
        await pilot.press("space", "escape")
        await wait_until(lambda: isinstance(app.screen, WelcomeScreen))


async def test_the_duel_begins() -> None:
    app = _app()
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("down", "enter")
        await wait_until(lambda: app.screen is app.duel_screen)
        await wait_until(
            lambda: app.duel_screen.is_mounted and all(side.loaded for side in app.duel_screen.sides)
        )


async def test_profiles_are_picked() -> None:
    app = _app()
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("down", "down", "enter")
        await wait_until(lambda: isinstance(app.screen, ProfilePicker))


def test_it_is_for_a_first_start_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))
    assert _is_first_start(None, None, NOTHING)  # type: ignore[arg-type]
    assert not _is_first_start("a", None, NOTHING)  # type: ignore[arg-type]
    assert not _is_first_start(None, None, NOTHING | {"prompt": "Hi"})  # type: ignore[arg-type]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "duels.sqlite3").touch()
    assert not _is_first_start(None, None, NOTHING)  # type: ignore[arg-type]


def test_of_those_that_fit_those_that_are_here_come_first() -> None:
    entries = [Entry("far", "", "", availability="gated"), Entry("large", "", ""), Entry("here", "", "")]
    fits = {"far": Fit("fits", ""), "here": Fit("fits", ""), "large": Fit("does not fit", "")}
    legend, *rows = fits_content(entries, fits).plain.split("\n")
    assert [row.split()[1] for row in rows] == ["here", "far", "large"]
    assert "⚷" in rows[1] and "⚷ gated" in legend
