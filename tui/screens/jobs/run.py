"""The screen of long work: settings, progress, a table and charts.

Drives a job; knows nothing of what it measures. Escape stops the work and keeps what is done.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static
from textual.worker import Worker, WorkerError, WorkerState

from engine.errors import QuantDuelError
from engine.jobs.sheet import SUFFIXES
from engine.sanitize import visible
from tui.alerts import Begun, Done
from tui.charts.plot import Plot
from tui.jobs.job import Job
from tui.pacer import Pacer
from tui.screens.ask import ProfilesDialog
from tui.screens.export import ask_for_file, stamped
from tui.screens.jobs.passage import Passage
from tui.screens.page import Page
from tui.widgets.figure_table import FigureTable
from tui.widgets.key_bar import KeyLine
from tui.widgets.run_progress import RunProgress
from tui.widgets.setup import Setup
from tui.widgets.tick import Tick

if TYPE_CHECKING:
    from tui.screens.duel.duel import DuelScreen

SHOW_EVERY_S = 0.5
READY = "Enter or Ctrl+R runs it"


class RunScreen(Page[None]):
    """One kind of long work."""

    CSS_PATH = "run.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (160, "-huge")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]
    ONE_PROFILE = False
    BINDINGS = [
        Binding("escape", "leave", "Back", priority=True),
        Binding("ctrl+r", "run", "Run", priority=True),
        Binding("ctrl+o", "profiles", "Profiles", priority=True),
        Binding("ctrl+t", "turn_over", "Plots", priority=True),
        Binding("ctrl+s", "save", "Export", priority=True),
        Binding("f1,question_mark", "app.help", "Help"),
        # not after the field has read it: what is typed next would go to the field that is left
        Binding("tab", "app.focus_next", "Next", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", "Previous", show=False, priority=True),
    ]

    def __init__(self, job: Job, duel: DuelScreen) -> None:
        super().__init__()
        self.job = job
        self._duel = duel
        self._work: Worker[None] | None = None
        self._pacer = Pacer(SHOW_EVERY_S)

    def compose(self) -> ComposeResult:
        heading = Content.assemble(("quantduel  ", "bold"), (self.job.name.lower(), "bold $primary"))
        yield Static(heading + Content.assemble((f"   {self.job.explanation}", "$quiet")), classes="heading")
        yield Setup(self.job.fields)
        with Horizontal(classes="free"):
            yield Tick("unload the duel's models meanwhile", self._duel.is_on_a_gpu, compact=True)
            yield Static("otherwise they stay loaded, unused", classes="why")
        yield RunProgress()
        yield Passage("facts")
        yield FigureTable()
        with Horizontal(classes="plots"):
            yield from self.details()
        yield Passage("notes")
        yield KeyLine()

    def details(self) -> ComposeResult:
        """What stands below the table, or in its place where there is no space for both."""
        yield Plot()
        yield Plot()

    def on_mount(self) -> None:
        self.query_one(RunProgress).end(READY, "idle")
        self.app.theme_changed_signal.subscribe(self, lambda _: self._repaint())

    @property
    def is_working(self) -> bool:
        """Whether work is under way."""
        return self._work is not None and not self._work.is_finished

    async def stop(self) -> None:
        """End the work, and its processes; keep what is done."""
        if self._work is not None and self.is_working:
            self._work.cancel()
            with suppress(WorkerError):  # a cancelled one says so by raising
                await self._work.wait()

    def ending(self) -> None:
        self._pacer.stop()

    # what the user wants

    def action_leave(self) -> None:
        """Stop the work; without any go back to the duel."""
        if self._work is not None and self.is_working:
            self._work.cancel()
            self.query_one(RunProgress).advance("stopping …")
            return
        self._duel.take_up()
        self.dismiss()

    @on(Setup.Submitted)
    def action_run(self) -> None:
        """Begin with the settings that are written there."""
        if self.is_working:
            self.notify("Still running: Esc stops it", markup=False)
        elif self._duel.has_turn:  # both would load models at once, and slow each other down
            self.notify("The duel still answers: wait, or go back and stop it with Esc", markup=False)
        else:
            self.after_typing(self._begin)

    def _begin(self) -> None:
        if not self.is_working:
            self._work = self.work(self._run, group="work")

    def action_profiles(self) -> None:
        """Choose profiles from the list."""

        def put(names: list[str] | None) -> None:
            if names is not None:
                self.query_one(Setup).fill("profiles", " ".join(names))

        if not self.is_working:
            names = self.query_one(Setup).values["profiles"].split()
            self.app.push_screen(ProfilesDialog(names, only_one=self.ONE_PROFILE), put)

    def action_turn_over(self) -> None:
        """The plots instead of the table, and back, where there is no room for both."""
        self.toggle_class("-plots")

    def action_save(self) -> None:
        """Write the results to a file."""

        what = self.job.name.partition(" ")[0].lower()
        ask_for_file(self, stamped(what, ".md"), list(SUFFIXES), self.job.export)

    def take_sides(self) -> None:
        """The duel's profiles as they are now are what their names mean."""
        self.job.sides = [side.profile for side in self._duel.sides]

    # for screens that keep what is done

    def begun(self) -> None:
        """New work begins."""

    def advanced(self) -> None:
        """It has come further."""

    def ended(self) -> None:
        """It is over, in whatever way."""

    # how

    async def _run(self) -> None:
        progress, setup = self.query_one(RunProgress), self.query_one(Setup)
        progress.end("preparing", "idle")
        self.take_sides()
        try:
            await asyncio.to_thread(self.job.prepare, setup.values)
        except QuantDuelError as error:
            progress.end(str(error), "failed")
            return
        progress.begin("starting")
        self.begun()
        self.post_message(Begun(self.job.name))
        self._lock(True)
        if self.query_one(Tick).value:
            progress.advance("unloading the duel's models")
            await self._duel.put_aside()
        await self._follow(progress)

    async def _follow(self, progress: RunProgress) -> None:
        self.show_results()
        try:
            async with aclosing(self.job.run()) as updates:
                async for update in updates:
                    progress.follow(update)
                    self._pacer.due(self.show_results)
                    self.advanced()
        except QuantDuelError as error:
            progress.end(str(error), "failed")
        else:
            progress.end(self.job.done, "done")

    @on(Worker.StateChanged)
    def _work_changed(self, event: Worker.StateChanged) -> None:
        if event.worker is not self._work or not event.worker.is_finished:
            return
        self._pacer.stop()
        if event.state is WorkerState.CANCELLED:
            self.query_one(RunProgress).end(self.job.stopped, "idle")
        self._lock(False)
        self.show_results()
        self.post_message(Done(self.job.name, f"{self.job.name} is over"))
        self.ended()

    def _lock(self, locked: bool) -> None:
        self.query_one(Setup).disabled = locked
        self.query_one(Tick).disabled = locked
        if locked:
            self.query_one(FigureTable).focus()

    def _repaint(self) -> None:
        """New colours."""
        self.query_one(FigureTable).forget()
        self.show_results()

    def show_results(self) -> None:
        """Show what the job has so far."""
        picture = self.job.picture
        colours = picture.colours or {}
        self.query_one(FigureTable).show(picture.rows, picture.widths or {}, colours, picture.first)
        for place, plot in enumerate(self.query(Plot)):
            plot.chart = picture.charts[place] if place < len(picture.charts) else None
            plot.display = plot.chart is not None
        facts, notes = self.query(Passage)
        facts.tell(picture.facts, there=bool(picture.facts))
        notes.tell(picture.notes, there=bool(picture.rows or picture.notes))

    def say(self, error: QuantDuelError) -> None:
        """Report an error that stops nothing."""
        self.notify(visible(str(error)), severity="error", markup=False, timeout=8)
