"""How every screen is come to from the duel, with something for its keys to do."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from textual.screen import Screen
from textual.widgets import OptionList

from engine.duel.lens import Lens
from engine.recordings.recording import shipped
from engine.results import Results
from tests.tui.replay import RECORDINGS, Stage, wait_until
from tests.unit.engine.testing.samples import finished
from tests.unit.engine.votes.samples import turn
from tui.screens.ask import EarlierDialog, ProfilesDialog, SaveDialog, TitleDialog
from tui.screens.blind import BlindScreen
from tui.screens.duel.find import FindDialog
from tui.screens.duel.turn import MenuDialog
from tui.screens.help import HelpScreen
from tui.screens.history import HistoryScreen
from tui.screens.jobs.bench import BenchScreen
from tui.screens.jobs.test import QuestionsScreen
from tui.screens.leaderboard import LeaderboardScreen
from tui.screens.lens import LensScreen
from tui.screens.profiles import ProfilePicker
from tui.screens.replay import ReplayScreen
from tui.screens.save_profile import SaveProfileDialog
from tui.screens.settings import SettingsDialog
from tui.screens.welcome import WelcomeScreen
from tui.settings.choice import Choice
from tui.widgets.figure_table import FigureTable
from tui.widgets.prompt import Prompt
from tui.widgets.transcript import Transcript


async def shown(play: Stage, kind: type[Screen[Any]], ready: str) -> None:
    """Wait until a screen of this kind is shown, and something on it."""
    await wait_until(
        lambda: isinstance(play.app.screen, kind) and play.app.screen.query(ready), kind.__name__
    )
    await play.pilot.pause()


Lead = Callable[[Stage, Path], Awaitable[None]]


def keys(*pressed: str, kind: type[Screen[Any]], ready: str) -> Lead:
    """From the duel, these keys lead there."""

    async def lead(play: Stage, folder: Path) -> None:
        for key in pressed:
            await play.pilot.press(key)
            await wait_until(lambda: not play.app.screen.is_current or play.app.screen.is_mounted)
            await play.pilot.pause()
        await shown(play, kind, ready)

    return lead


async def to_duel(play: Stage, folder: Path) -> None:
    await shown(play, Screen, "Prompt")


async def to_pane(play: Stage, folder: Path) -> None:
    """The prompt has a use of its own for Ctrl+D."""
    play.duel.query(Transcript).first().focus()
    await play.pilot.pause()


async def to_settings(play: Stage, folder: Path) -> None:
    await play.pilot.press("ctrl+e")
    await shown(play, SettingsDialog, "#set-generation-temperature")
    await play.pilot.press("5")


async def to_choice(play: Stage, folder: Path) -> None:
    await to_settings(play, folder)
    list(play.app.screen.query(Choice))[1].focus()
    await play.pilot.pause()


async def to_menu(play: Stage, folder: Path) -> None:
    await play.pilot.press("f9")
    await shown(play, MenuDialog, "OptionList")


async def to_lens(play: Stage, folder: Path) -> None:
    lens = msgspec.json.decode((RECORDINGS / "lens.json").read_bytes(), type=Lens)

    async def look() -> Lens:
        return lens

    play.duel.bridge.look = look  # type: ignore[method-assign]
    await play.pilot.press("f3")
    await shown(play, LensScreen, "TopChoices")
    await play.pilot.press("home")


async def to_blind(play: Stage, folder: Path) -> None:
    screen = BlindScreen(play.duel.bridge, Results(folder / "votes.sqlite3"), seed=1, pace=1000.0)
    play.app.push_screen(screen)
    await shown(play, BlindScreen, "Prompt")
    screen.query(Transcript).first().focus()


async def to_ballot(play: Stage, folder: Path) -> None:
    await to_blind(play, folder)
    screen = play.app.screen
    assert isinstance(screen, BlindScreen)
    screen.query_one(Prompt).text = "hi"
    screen.query_one(Prompt).focus()
    await play.pilot.press("enter")
    await wait_until(lambda: screen.ballot and screen.ballot.is_open)


async def to_leaderboard(play: Stage, folder: Path) -> None:
    votes = Results(folder / "votes.sqlite3")
    votes.keep_turn(turn("a", "b", "a"))
    screen = LeaderboardScreen(votes)
    play.app.push_screen(screen)
    await wait_until(lambda: screen.board)
    votes.keep_turn(turn("a", "b", "b"))  # to be counted


async def to_history(play: Stage, folder: Path) -> None:
    if not play.app.clipboard:  # once
        play.app.copy_to_clipboard("two duels are kept")
        await play.pilot.press("ctrl+l")
        await play.ask("another")
        await play.settled()
    await play.pilot.press("f4")
    await shown(play, HistoryScreen, "OptionList")
    screen = play.app.screen
    assert isinstance(screen, HistoryScreen)
    await wait_until(lambda: len(screen.shown) == 2 and screen.query_one("#preview").max_scroll_y)


async def to_bench(play: Stage, folder: Path) -> None:
    await play.pilot.press("f5")
    await shown(play, BenchScreen, "FigureTable")
    screen = play.app.screen
    assert isinstance(screen, BenchScreen)
    screen._results = Results(folder / "runs.sqlite3")
    if not screen._kept:
        await play.pilot.press("ctrl+r")
    await wait_until(lambda: screen._kept and not screen.is_working, "benched")
    screen.query_one(FigureTable).focus()


async def to_questions(play: Stage, folder: Path) -> None:
    await play.pilot.press("f11")
    await shown(play, QuestionsScreen, "SideBySide")
    screen = play.app.screen
    assert isinstance(screen, QuestionsScreen)
    screen.job.work = finished(folder, "rrww", "rwrw", "wwww")
    screen.show_results()


def from_bench(key: str, kind: type[Screen[Any]], ready: str) -> Lead:
    async def lead(play: Stage, folder: Path) -> None:
        await to_bench(play, folder)
        await play.pilot.press(key)
        await shown(play, kind, ready)
        options = play.app.screen.query_one(OptionList)
        await wait_until(lambda: options.option_count)
        options.focus()
        options.highlighted = 0

    return lead


async def to_welcome(play: Stage, folder: Path) -> None:
    screen = WelcomeScreen(play.duel.profiles, play.app._begin)
    play.app.push_screen(screen)
    await wait_until(lambda: screen.query("#welcome") and screen.query_one("#welcome").max_scroll_y)


async def to_replay(play: Stage, folder: Path) -> None:
    play.app.read(replace(shipped(), turns=shipped().turns[:1]), 1.0)
    await shown(play, ReplayScreen, "ReplayBar")
    screen = play.app.screen
    assert isinstance(screen, ReplayScreen)
    screen.pace.skip()
    await wait_until(lambda: "the end" in str(screen.query_one("ReplayBar").render()))
    await play.pilot.pause()


async def to_title(play: Stage, folder: Path) -> None:
    await to_history(play, folder)
    await play.pilot.press("f2")
    await shown(play, TitleDialog, "Input")


LEADS: dict[str, Lead] = {  # to an area, or to where one binding of it has something to do
    "app": to_duel,
    "duel": to_duel,
    "duel.quit": to_pane,
    "prompt": to_duel,
    "settings": to_settings,
    "choice": to_choice,
    "save-profile": keys("ctrl+e", "ctrl+s", kind=SaveProfileDialog, ready="Input"),
    "find": keys("ctrl+f", kind=FindDialog, ready="Input"),
    "menu": to_menu,
    "help": keys("f1", kind=HelpScreen, ready="Static"),
    "save": keys("ctrl+s", kind=SaveDialog, ready="Input"),
    "profile-picker": keys("ctrl+o", kind=ProfilePicker, ready="Input"),
    "lens": to_lens,
    "heat-map": to_lens,
    "blind": to_blind,
    **{f"blind.vote-{choice}": to_ballot for choice in ("left", "right", "tie", "bothbad")},
    "leaderboard": to_leaderboard,
    "history": to_history,
    "title": to_title,
    "run": to_bench,
    "kept": to_bench,
    "questions": to_questions,
    "earlier": from_bench("f4", EarlierDialog, "OptionList"),
    "profiles": from_bench("ctrl+o", ProfilesDialog, "OptionList"),
    "welcome": to_welcome,
    "replay": to_replay,
}
