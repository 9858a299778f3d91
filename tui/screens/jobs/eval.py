"""Eval on the screen: the figures of `quantduel eval`, improving while one looks on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.jobs.eval import EvalJob
from tui.jobs.job import typed
from tui.screens.jobs.kept import KeptScreen

if TYPE_CHECKING:
    from engine.results import Results
    from tui.screens.duel.duel import DuelScreen


class EvalScreen(KeptScreen):
    """A reference, candidates, and a text."""

    def __init__(self, duel: DuelScreen, results: Results | None = None) -> None:
        super().__init__(EvalJob([typed(side.profile) for side in duel.sides]), duel, results)
