"""The application on recorded sessions, for one test."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import textual.app
import textual.pilot
from msgspec.structs import replace
from textual._wait import wait_for_idle

from engine.config.profile import Profile
from engine.config.profiles import find
from engine.protocol.answers import Decoded, Prompted
from engine.protocol.model import ThinkMarks
from engine.protocol.wire import Event
from engine.recordings.store import Duels
from engine.session.client import Session
from tests.tui import replay
from tests.tui.replay import Replay, Stage, wait_until
from tui.app import QuantDuelApp
from tui.launch import NOTHING_CHOSEN, Launch

Stager = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture(autouse=True)
def _keys_wait_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `press` and a `pause` wait for an idle process, up to a second: tests wait for what they want."""
    for module in (textual.app, textual.pilot):
        monkeypatch.setattr(module, "wait_for_idle", partial(wait_for_idle, max_sleep=0.1))


@pytest.fixture
def stage(tmp_path: Path) -> Stager:
    """`async with stage(size=(120, 36), b={"answers": ["killed"]})`: recorded bf16 against recorded nf4.

    Of more `sides`, C is as A, D as B, and so on. Without `toasts` what is told is in the application alone.
    """

    @asynccontextmanager
    async def start(
        size: tuple[int, int] = (120, 36),
        launch: Launch = NOTHING_CHOSEN,
        sides: int = 2,
        toasts: bool = False,
        **replays: dict[str, object],
    ) -> AsyncIterator[Stage]:
        sessions: list[Replay] = []

        def open_session(wanted: Profile) -> Session:
            options = dict(replays.get("a" if wanted.name == "smollm2-bf16" else "b", {}))
            answers = options.pop("answers", [])
            sessions.append(Replay(wanted, *answers, **options))  # type: ignore[misc, arg-type]
            return sessions[-1]

        profiles = find("smollm2-bf16"), find("smollm2-nf4")
        if sides > 2:
            launch = replace(launch, more=(profiles * 2)[: sides - 2])
        duels = Duels(tmp_path / "duels.sqlite3")
        app = QuantDuelApp(*profiles, open_session, launch=launch, duels=duels)
        async with app.run_test(size=size, notifications=toasts) as pilot:
            await wait_until(lambda: len(sessions) == sides, "sessions opened")
            yield Stage(app, pilot, sessions)

    return start


@pytest.fixture
def thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both recorded answers begin with thoughts of three tokens."""
    recorded = replay.recording

    def thought(name: str) -> list[Event]:
        events = recorded(name)
        if not name.endswith("answer"):
            return events
        at = next(n for n, event in enumerate(events) if isinstance(event, Decoded))
        for place, text in enumerate(("<think>", "Paris?", "</think>"), at):
            events[place] = replace(events[place], text=text)
        marks = ThinkMarks(open="<think>", close="</think>")
        return [replace(e, think=marks) if isinstance(e, Prompted) else e for e in events]

    monkeypatch.setattr(replay, "recording", thought)
