"""The lens: both answers through both models, token by token, and why they diverge."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from engine.duel.lens import Lens, NoLens
from engine.duel.lens_text import kld_text
from engine.sanitize import visible
from tui.duel.colours import TEXT_COLOURS
from tui.ending import whole
from tui.lens.heat_map import HeatMap, scale_content
from tui.lens.top_choices import TopChoices
from tui.screens.page import Page
from tui.widgets.key_bar import KeyLine
from tui.widgets.run_progress import RunProgress

Look = Callable[[], Awaitable[Lens | NoLens]]


class LensScreen(Page[None]):
    """Two heat maps and the choices at the cursor."""

    CSS_PATH = "lens.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
    BINDINGS = [
        Binding("escape", "leave", "Back", priority=True),
        Binding("tab", "other", "Other answer", priority=True),
        Binding("d", "divergence", "Divergence"),
        Binding("f1,question_mark", "app.help", "Help"),
    ]

    def __init__(
        self,
        look: Look,
        names: tuple[str, str],
        labels: tuple[str, str],
        line: str = "",
        other: int = 1,
    ) -> None:
        """`line` says what goes between machines meanwhile; `other` is the side that is read next to A."""
        super().__init__()
        self._other = other
        self._look, self._line = look, line
        self._names, self._labels = names, labels
        self.lens: Lens | None = None

    def compose(self) -> ComposeResult:
        a, b = (visible(name, keep_newlines=False) for name in self._names)
        yield Static(
            Content.assemble(
                ("quantduel  ", "bold"),
                ("lens   ", "bold $primary"),
                (a, "$text-primary"),
                (" and ", "$quiet"),
                (b, TEXT_COLOURS[self._other]),
            ),
            classes="heading",
        )
        yield RunProgress()
        yield KeyLine()

    def on_mount(self) -> None:
        self.work(self._fill, group="lens")

    async def _fill(self) -> None:
        progress = self.query_one(RunProgress)
        parts = ("each model reads both answers", visible(self._line, keep_newlines=False), "Esc leaves")
        progress.begin(" · ".join(part for part in parts if part))
        found = await self._look()
        if isinstance(found, NoLens):
            progress.end(f"{found.message} ({found.hint})" if found.hint else found.message, "failed")
            return
        self.lens = found
        await whole(progress.remove())
        await self._show(found)

    async def _show(self, lens: Lens) -> None:
        diverged_at = lens.verdict.index if lens.verdict else None
        maps = [HeatMap(reading, diverged_at) for reading in lens.readings]
        maps[0].add_class("-active")
        summary = Content("\n").join([summary_content(lens), verdict_content(lens)])
        head = Static(summary, classes="summary")
        both = Horizontal(*maps, id="maps")
        await whole(self.mount_all([head, both, Static(scale_content(), classes="scale")], before="Footer"))
        choices = TopChoices(self._labels, self._other, is_bound=lens.summary.kld_is_bound)
        await whole(self.mount(choices, before="Footer"))
        maps[0].focus()
        maps[0].go(diverged_at or 0)

    @on(HeatMap.Moved)
    def _moved(self, message: HeatMap.Moved) -> None:
        self.query_one(TopChoices).token = message.token

    def action_other(self) -> None:
        """The other side's answer."""
        maps = list(self.query(HeatMap))
        if not maps:
            return
        active = next(heat for heat in maps if not heat.has_class("-active"))
        for heat in maps:
            heat.set_class(heat is active, "-active")
        active.focus()
        if active.token:
            self.query_one(TopChoices).token = active.token

    def action_divergence(self) -> None:
        """Back to where the answers diverge."""
        if self.lens and self.lens.verdict:
            for heat in self.query("HeatMap.-active").results(HeatMap):
                heat.go(self.lens.verdict.index)

    def action_leave(self) -> None:
        """Back to the duel; what is still being read is given up."""
        self.dismiss()


def summary_content(lens: Lens) -> Content:
    """`mean KLD on this prompt 0.031 ± 0.004 nats   top tokens differ at 2 of 42: 5, 17`."""
    found = lens.summary
    return Content.assemble(
        ("mean KLD on this prompt ", "$quiet"),
        (kld_text(found), "bold"),
        ("   ", ""),
        (found.text, "bold"),
    )


def verdict_content(lens: Lens) -> Content:
    """Why they diverge, in words."""
    if lens.verdict is None:
        words = "; ".join(lens.notes) or "the answers are the same, token by token"
        return Content.assemble((visible(words), "$quiet"))
    style = "$text-warning" if lens.verdict.kind == "change of mind" else TEXT_COLOURS[0]
    place = f"token {lens.verdict.index + 1}  "
    return Content.assemble((place, "$quiet"), (visible(lens.verdict.text), f"bold {style}"))
