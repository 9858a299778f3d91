"""The bench on the screen: the matrix of `quantduel bench`, filled while one looks on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.jobs.bench import BenchJob
from tui.jobs.job import typed
from tui.screens.jobs.kept import KeptScreen

if TYPE_CHECKING:
    from engine.results import Results
    from tui.screens.duel.duel import DuelScreen


class BenchScreen(KeptScreen):
    """Context lengths, batch sizes, profiles."""

    def __init__(self, duel: DuelScreen, results: Results | None = None) -> None:
        sides = duel.sides
        at_once = all(side.profile.is_served or side.profile.serve for side in sides)
        super().__init__(BenchJob([typed(side.profile) for side in sides], at_once=at_once), duel, results)
