"""The screen of long work whose results are kept: earlier runs to look at or compare with."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.binding import Binding

from engine.errors import QuantDuelError
from engine.results import Results
from engine.units import time_text
from tui.jobs.job import KeptJob
from tui.pacer import Pacer
from tui.screens.ask import EarlierChoice, EarlierDialog
from tui.screens.jobs.run import RunScreen
from tui.widgets.run_progress import RunProgress

if TYPE_CHECKING:
    from tui.screens.duel.duel import DuelScreen

KEEP_EVERY_S = 5.0


class KeptScreen(RunScreen):
    """Long work with a results."""

    BINDINGS = [
        Binding("f4", "earlier", "Earlier"),
    ]
    job: KeptJob[Any]

    def __init__(self, job: KeptJob[Any], duel: DuelScreen, results: Results | None = None) -> None:
        super().__init__(job, duel)
        self._results = results or Results()
        self._kept: int | None = None  # the present run's number among the kept ones
        self._keeping = asyncio.Lock()
        self._keeper = Pacer(KEEP_EVERY_S)

    async def stop(self) -> None:
        """End the work, and keep what is done."""
        was_working = self.is_working
        await super().stop()
        if was_working:
            await self._keep()

    def ending(self) -> None:
        super().ending()
        self._keeper.stop()

    def begun(self) -> None:
        """A new run, to be kept with the others."""
        self._kept = None

    def advanced(self) -> None:
        """Keep what there is, now and then."""
        self._keeper.due(self._keep_soon)

    def ended(self) -> None:
        """Keep all of it."""
        self._keeper.stop()
        self._keep_soon()

    def _keep_soon(self) -> None:
        self.work(self._keep, group="keep")

    async def action_earlier(self) -> None:
        """Show an earlier run, or compare it with the current one."""
        if self.is_working:
            self.notify("Still running: Esc stops it", markup=False)
            return
        try:
            runs = await asyncio.to_thread(self._results.runs, self.job.kind)
        except QuantDuelError as error:
            self.say(error)
            return
        self.app.push_screen(EarlierDialog(runs), self._open)

    def _open(self, choice: EarlierChoice | None) -> None:
        if choice is not None:
            self.work(partial(self._open_run, choice), group="open")

    async def _open_run(self, choice: EarlierChoice) -> None:
        try:
            body = await asyncio.to_thread(self._results.run_body, choice.run.id)
            if choice.compare and self.job.body():
                self.job.compare(body)
            else:
                self.job.open(body)
        except QuantDuelError as error:
            self.say(error)
            return
        words = "compared with it" if choice.compare else "shown"
        self.query_one(RunProgress).end(
            f"{words}: {choice.run.title}, {time_text(choice.run.created)}", "idle"
        )
        self.show_results()

    async def _keep(self) -> None:
        async with self._keeping:
            body = self.job.body()
            if body is None:
                return
            keep = self._results.keep_run
            try:
                self._kept = await asyncio.to_thread(keep, self.job.kind, self.job.title, body, self._kept)
            except QuantDuelError as error:
                self.say(error)
