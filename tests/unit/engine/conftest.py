"""Duels of recorded sessions, and a file to keep them in."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from engine.config import profiles
from engine.duel.duel import Duel
from engine.recordings.keeper import Keeper
from engine.recordings.playback import Pace, Playback
from engine.recordings.recording import Recording
from engine.recordings.store import Duels
from tests.tui.replay import recording

NAMES = ("smollm2-bf16", "smollm2-nf4")


@pytest.fixture
def duels(tmp_path: Path) -> Duels:
    """The kept duels, none yet."""
    return Duels(tmp_path / "data" / "duels.sqlite3")


@pytest.fixture
def recorded() -> Callable[..., Duel]:
    """`recorded("answer", "killed", turns=2)`: what A and what B said, in a duel; not loaded yet."""

    def make(
        a: str = "answer",
        b: str = "answer",
        turns: int = 1,
        pace: Pace | None = None,
        more: Sequence[str] = (),
    ) -> Duel:
        """`more` are those after B, by what they load."""
        sides = [*zip(NAMES, (a, b), strict=True), *((name, "answer") for name in more)]
        return Duel(
            [
                Playback(
                    profiles.find(name),
                    recording(f"{name}.load"),
                    [recording(f"{name}.{answer}")] * turns,
                    pace,
                )
                for name, answer in sides
            ]
        )

    return make


@pytest.fixture
def keep(duels: Duels) -> Callable[..., Awaitable[Recording]]:
    """`await keep(duel, "a prompt", "and another")`: asked, kept, and read again."""

    async def asked(duel: Duel, *prompts: str, keeper: Keeper | None = None) -> Recording:
        keeper = keeper or Keeper(duels)
        settings = duel.sessions[0].profile.generation
        for session in duel.sessions:
            if session.info is None:
                async for _ in session.load():
                    pass
        for prompt in prompts:
            async for _ in keeper.keep(duel, prompt, duel.ask(prompt, settings), settings):
                pass
        await keeper.aclose()
        return duels.get(duels.found()[0].id)

    return asked
