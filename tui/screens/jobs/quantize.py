"""Quantize now: a profile's checkpoint, made while one looks on. Shows what the store already has."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from textual import on
from textual.widgets import Input

from engine.config.methods import Savable
from engine.errors import QuantDuelError
from tui.jobs.quantize import QuantizeJob
from tui.screens.jobs.run import RunScreen
from tui.widgets.run_progress import RunProgress

if TYPE_CHECKING:
    from tui.screens.duel.duel import DuelScreen


class QuantizeScreen(RunScreen):
    """One profile, its checkpoint and its losses."""

    ONE_PROFILE = True
    job: QuantizeJob

    def __init__(self, duel: DuelScreen, job: QuantizeJob | None = None) -> None:
        profiles = [side.profile for side in duel.sides]
        names = [each.name for each in profiles if isinstance(each.quantization, Savable)]
        super().__init__(job or QuantizeJob((names or [profiles[1].name])[-1]), duel)

    @on(Input.Changed, "#field-profiles")
    def _changed(self, event: Input.Changed) -> None:
        if not self.is_working:
            self.take_sides()
            self.work(partial(self._look, event.value.strip()), group="look", exclusive=True)

    async def _look(self, name: str) -> None:
        try:
            words, found = await asyncio.to_thread(self.job.look, name)
        except QuantDuelError as error:
            words, found = str(error), None
        if not self.is_working:
            self.job.show(found)
            self.query_one(RunProgress).end(words, "idle")
            self.show_results()
