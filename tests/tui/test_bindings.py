"""Every binding of every screen is pressed on a recorded stage, and does what its row says.

A binding without a row fails, and so does a row without a binding. Of several
keys only the first is pressed where it leads to another screen.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from textual.binding import Binding
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, OptionList

import tui
from engine.duel.lens import NoLens
from tests.tui.conftest import Stager
from tests.tui.leads import LEADS
from tests.tui.recorded_jobs import RecordedBench
from tests.tui.replay import Stage, wait_until
from tui.app import QuantDuelApp
from tui.duel import bridge
from tui.jobs.bench import BenchJob
from tui.keymap import area_of, named
from tui.lens.heat_map import HeatMap
from tui.screens import profiles, welcome
from tui.screens.ask import EarlierDialog, ProfilesDialog, SaveDialog, TitleDialog
from tui.screens.blind import BlindScreen
from tui.screens.duel.find import FindDialog
from tui.screens.duel.turn import MenuDialog
from tui.screens.help import HelpScreen
from tui.screens.history import HistoryScreen
from tui.screens.jobs.bench import BenchScreen
from tui.screens.jobs.eval import EvalScreen
from tui.screens.jobs.quantize import QuantizeScreen
from tui.screens.jobs.test import QuestionsScreen
from tui.screens.leaderboard import LeaderboardScreen
from tui.screens.lens import LensScreen
from tui.screens.page import Page
from tui.screens.profiles import Fit, ProfilePicker
from tui.screens.replay import ReplayScreen
from tui.screens.save_profile import SaveProfileDialog
from tui.screens.settings import SettingsDialog
from tui.settings.choice import Choice
from tui.widgets.figure_table import FigureTable
from tui.widgets.transcript import Transcript

Seen = Callable[[Stage], object]
CLOSES = "the screen below is shown"
STAYS = "nothing that a screen shows: the end of the program, or there is nothing to be done here"
Outcome = type[Screen[Any]] | Seen | str


def seen(kind: type[Widget], attribute: str, place: int = 0) -> Seen:
    """What is to be seen of one of the widgets of a kind, on the screen that is shown."""
    return lambda play: getattr(list(play.app.screen.query(kind))[place], attribute)


def own(attribute: str) -> Seen:
    """What is to be seen of the screen that is shown."""
    return lambda play: attrgetter(attribute)(play.app.screen)


def focused(play: Stage) -> object:
    return play.app.focused


def cursor(play: Stage) -> object:
    return play.app.screen.query_one("HeatMap.-active", HeatMap).token


def active(play: Stage) -> object:
    return [widget.has_class("-active") for widget in play.app.screen.query("HeatMap, BlindPane, Pane")]


def scrolled(play: Stage) -> object:
    return [transcript.scroll_target_y for transcript in play.app.screen.query(Transcript)]


marked = seen(OptionList, "highlighted")
ROWS: dict[str, dict[str, Outcome]] = {  # in the order in which they are pressed
    "app": {"quit": STAYS, "suspend-process": STAYS},
    "prompt": {
        "undo": STAYS,
        "scroll-answers--1": scrolled,
        "scroll-answers-1": scrolled,
        "delete-or-quit": STAYS,
    },
    "settings": {
        "reset": seen(Input, "value"),
        "focus-next": focused,
        "focus-previous": focused,
        "focus-next-down": focused,
        "focus-previous-up": focused,
        "save": SaveProfileDialog,
        "dismiss": CLOSES,
        "take": CLOSES,
    },
    "choice": {"choose--1": seen(Choice, "value", 1), "choose-1": seen(Choice, "value", 1)},
    "save-profile": {"dismiss": CLOSES},
    "find": {"dismiss": CLOSES},
    "menu": {"dismiss": CLOSES},
    "help": {"dismiss": CLOSES},
    "save": {"dismiss": CLOSES},
    "profile-picker": {"other-side": own("side"), "move-1": marked, "move--1": marked, "dismiss": CLOSES},
    "lens": {"divergence": cursor, "other": active, "help": HelpScreen, "leave": CLOSES},
    "heat-map": {
        "go--1": cursor,
        "difference--1": cursor,
        "go-0": cursor,
        "difference-1": cursor,
        "step-1": cursor,
        "step--1": cursor,
        "line-1": cursor,
        "line--1": cursor,
    },
    "blind": {
        "other-place": active,
        "thoughts": lambda play: len(play.app._notifications),
        "help": HelpScreen,
        "leaderboard": LeaderboardScreen,
        "quit": STAYS,
        "leave": CLOSES,
        "leave-f2": CLOSES,
        **{f"vote-{choice}": own("ballot.choice") for choice in ("left", "right", "tie", "bothbad")},
    },
    "leaderboard": {"export": SaveDialog, "count": own("board"), "help": HelpScreen, "dismiss": CLOSES},
    "history": {
        "move-1": marked,
        "move--1": marked,
        "page-1": lambda play: play.app.screen.query_one("#preview").scroll_target_y,
        "page--1": lambda play: play.app.screen.query_one("#preview").scroll_target_y,
        "rename": TitleDialog,
        "export": SaveDialog,
        "delete": lambda play: len(play.app.screen.shown),  # type: ignore[attr-defined]
        "undo": lambda play: len(play.app.screen.shown),  # type: ignore[attr-defined]
        "read": ReplayScreen,
        "help": HelpScreen,
        "dismiss": CLOSES,
        "reopen": CLOSES,
    },
    "title": {"dismiss": CLOSES},
    "run": {
        "help": HelpScreen,
        "profiles": ProfilesDialog,
        "turn-over": own("classes"),
        "focus-next": focused,
        "focus-previous": focused,
        "save": SaveDialog,
        "leave": CLOSES,
        "run": own("_work"),
    },
    "kept": {"earlier": EarlierDialog},
    "questions": {
        "turn-over": own("classes"),
        "flips": lambda play: play.app.screen.query_one("#questions", FigureTable).row_count,
        "other": own("_side"),
    },
    "earlier": {"compare": CLOSES, "dismiss": CLOSES},
    "profiles": {
        "move-1": marked,
        "move--1": marked,
        "pick": lambda play: str(play.app.screen.query_one("#picked").render()),  # type: ignore[attr-defined]
        "dismiss": CLOSES,
    },
    "welcome": {
        "scroll-page-1": lambda play: play.app.screen.query_one("#welcome").scroll_target_y,
        "scroll-page--1": lambda play: play.app.screen.query_one("#welcome").scroll_target_y,
        "begin-demo": ReplayScreen,
        "choose": ReplayScreen,
        "help": HelpScreen,
        "quit": STAYS,
    },
    "replay": {
        "other-side": active,
        "copy": lambda play: play.app.clipboard,
        "export": SaveDialog,
        "lens": LensScreen,
        "scroll--1": scrolled,
        "scroll-1": scrolled,
        "help": HelpScreen,
        "quit": STAYS,
        "again": own("pace"),
        "pause": own("pace.paused"),
        "speed-1": own("pace.speed"),
        "speed--1": own("pace.speed"),
        "skip": own("pace.speed"),
        "view": own("_view"),
        "leave": CLOSES,
    },
    "duel": {
        "stop": STAYS,
        "settings": SettingsDialog,
        "pick": ProfilePicker,
        "toggle-schedule": lambda play: play.duel.bridge.schedule,
        "other-side": active,
        "next-pane": focused,
        "reload": STAYS,  # asks first
        "copy": lambda play: play.app.clipboard,
        "find": FindDialog,
        "export": SaveDialog,
        "help": HelpScreen,
        "blind": BlindScreen,
        "lens": LensScreen,
        "kept-duels": HistoryScreen,
        "bench": BenchScreen,
        "eval": EvalScreen,
        "leaderboard": LeaderboardScreen,
        "quantize": QuantizeScreen,
        "test": QuestionsScreen,
        "turn": MenuDialog,
        "history": lambda play: play.duel.bridge.duel.history,
        "view": own("_view"),
        "clear": lambda play: play.text(play.duel.active()),
        "quit": STAYS,
    },
}


def declared() -> Iterator[tuple[str, Binding]]:
    """Every binding of the application, with the area of its screen or widget."""
    for module in pkgutil.walk_packages(tui.__path__, "tui."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting: list[type] = [Widget, QuantDuelApp]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("tui.") and "BINDINGS" in kind.__dict__:
            area = "app" if kind is QuantDuelApp else area_of(kind.__name__)
            area = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower() if area not in ROWS else area
            for binding in kind.BINDINGS if issubclass(kind, Page) else named(kind.BINDINGS, area):
                if isinstance(binding, Binding):
                    yield area, binding


BINDINGS = {str(binding.id): binding for _, binding in declared()}


def test_every_key_has_a_row_and_every_row_a_key() -> None:
    assert {f"{area}.{name}" for area, rows in ROWS.items() for name in rows} == set(BINDINGS)
    assert [name for name, key in BINDINGS.items() if not (key.description or key.tooltip)] == []


async def test_every_key_does_what_its_row_says(
    stage: Stager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    for place, name, instead in replaced(ran):
        monkeypatch.setattr(place, name, instead)
    async with stage(size=(80, 24)) as play:
        await play.ready()
        await play.ask("hi")
        await play.settled()
        for area in ROWS:
            await walked(play, area, tmp_path, ran)


async def walked(play: Stage, area: str, folder: Path, ran: list[str]) -> None:
    """Press every key of an area; it is entered again where a key has left it."""
    here: Screen[Any] | None = None
    for name, outcome in ROWS[area].items():
        binding = BINDINGS[f"{area}.{name}"]
        keys = binding.key.split(",")
        for key in keys if is_seen(outcome) else keys[:1]:
            lead = LEADS.get(f"{area}.{name}")
            if lead or here not in play.app.screen_stack:
                await back(play, play.duel)
                await (lead or LEADS[area])(play, folder)
                here = play.app.screen
                assert nameless(here) == []
            await back(play, here)
            ran.clear()
            await pressed(play, key, outcome, f"{area}.{name}: {key}")
            await wait_until(lambda action=binding.action: action in ran, f"{area}.{name}: {key}")  # type: ignore[misc]


def nameless(screen: Screen[Any]) -> list[str]:
    """What stands in a screen's footer and is no command of the palette."""
    found = list(screen.app.get_system_commands(screen))
    assert "Screenshot" in {command.title for command in found}
    words = {command.help.rpartition(" (")[0] for command in found} | {command.title for command in found}
    shown = [active.binding for active in screen.active_bindings.values() if active.binding.show]
    return [key.description for key in shown if not words & {key.tooltip, key.description}]


async def pressed(play: Stage, key: str, outcome: Outcome, what: str) -> None:
    """Press it, and wait for what its row says."""
    before, screen = outcome(play) if is_seen(outcome) else None, play.app.screen
    await play.pilot.press(key)
    if outcome == CLOSES:
        await wait_until(lambda: play.app.screen is not screen and screen not in play.app.screen_stack, what)
    elif outcome == STAYS:
        assert play.app.screen is screen, what
    elif is_seen(outcome):
        await wait_until(lambda: play.app.screen is screen and outcome(play) != before, what)
    else:
        await wait_until(lambda: isinstance(play.app.screen, outcome) and play.app.screen.is_mounted, what)


def is_seen(outcome: Outcome) -> bool:
    return callable(outcome) and not isinstance(outcome, type)


async def back(play: Stage, screen: Screen[Any]) -> None:
    """Leave whatever lies above it."""
    while play.app.screen is not screen:
        above = play.app.screen
        above.dismiss()
        await wait_until(lambda above=above: play.app.screen is not above)  # type: ignore[misc]


def replaced(ran: list[str]) -> Iterator[tuple[type, str, object]]:
    """The end of the program, long work, and what asks the machine; and an eye on the actions that run."""
    run_action, init = QuantDuelApp.run_action, BenchJob.__init__

    async def watched(app: QuantDuelApp, action: Any, *given: Any, **options: Any) -> bool:
        ran.append(str(action))
        return await run_action(app, action, *given, **options)

    async def stays(_: QuantDuelApp) -> None:
        """The test goes on."""

    async def nothing(_: object) -> NoLens:
        return NoLens(reason="not answered", message="nothing to see")

    yield QuantDuelApp, "run_action", watched
    yield bridge, "look", nothing
    yield QuantDuelApp, "action_quit", stays
    yield BenchJob, "__init__", lambda job, names, **more: init(job, names, RecordedBench, **more)
    yield profiles, "judged", lambda *_: Fit("fits", "")
    yield welcome, "judged", lambda *_: Fit("fits", "")
