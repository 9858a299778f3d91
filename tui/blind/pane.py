"""Half of a blind turn: an answer under a title that says left or right, and after the vote whose it was."""

from typing import NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static

from engine.duel.sides import LETTERS
from engine.duel.thinking import Parts
from engine.sanitize import visible
from tui.duel.colours import COLOURS, TEXT_COLOURS
from tui.duel.side import Side
from tui.ending import whole
from tui.widgets.memory_bars import MemoryBars
from tui.widgets.speed_strip import SpeedStrip
from tui.widgets.transcript import Transcript

TITLES = ("Left", "Right")


class Unveiled(NamedTuple):
    """Whose answer it was: 0 is A, 1 is B."""

    number: int
    side: Side


class BlindPane(Vertical):
    """One answer without a name."""

    DEFAULT_CSS = """
    BlindPane { width: 1fr; height: 1fr; }
    BlindPane .title {
        height: 1; padding: 0 1; background: $surface; text-wrap: nowrap; text-overflow: ellipsis;
    }
    BlindPane .figures { height: auto; border-top: solid $panel; }
    """

    def __init__(self, place: int) -> None:
        super().__init__(id=f"place-{TITLES[place].lower()}")
        self.place = place
        self._shown = Parts()
        self._complete = False

    def compose(self) -> ComposeResult:
        yield Static(title(self.place, None), classes="title")
        yield Transcript()

    @property
    def transcript(self) -> Transcript:
        """The prompt and the answer."""
        return self.query_one(Transcript)

    async def begin(self, prompt: str) -> None:
        """A new turn: nothing of the one before stays."""
        self._shown, self._complete = Parts(), False
        self.query_one(".title", Static).update(title(self.place, None))
        await whole(self.query(".figures").remove())
        self.transcript.wipe()
        self.transcript.ask(prompt)

    def show(self, parts: Parts, *, complete: bool) -> None:
        """Show the answer up to here, its thoughts folded; `complete` says that this is all of it."""
        if self._complete:
            return
        thoughts = "" if parts.thoughts == self._shown.thoughts else parts.thoughts
        self.transcript.grow(parts.said[len(self._shown.said) :], thoughts)
        self._shown, self._complete = parts, complete
        if complete:
            self.transcript.finish(parts.said)

    def unveil(self, whose: Unveiled) -> None:
        """Say whose answer it was."""
        self.query_one(".title", Static).update(title(self.place, whose))

    def show_figures(self, whose: Unveiled, scale_bytes: int, ending: str) -> None:
        """Say why it ended, how fast it came, how long it thought, and in how much memory."""
        if ending:
            self.transcript.warn(ending)
        if whose.side.figures:
            self.transcript.count_thoughts(whose.side.figures.metrics)
        colour = COLOURS[whose.number]
        bars = MemoryBars(whose.side, colour)
        bars.scale_bytes = scale_bytes
        self.mount(Vertical(SpeedStrip(whose.side, colour), bars, classes="figures"))


class BlindTabs(Static):
    """Both places in one line, where only one pane fits."""

    DEFAULT_CSS = """
    BlindTabs { height: 1; background: $surface; display: none; }
    """

    active: reactive[int] = reactive(0)
    unveiled: reactive[tuple[Unveiled, ...]] = reactive(())
    """Left's and right's, after the vote."""

    class Chosen(Message):
        """The user wants to see this place."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def render(self) -> Content:
        """Two tabs of equal width."""
        return self._tab(0) + self._tab(1)

    def on_click(self, event: events.Click) -> None:
        """The half that was clicked."""
        self.post_message(self.Chosen(0 if event.x < self.size.width // 2 else 1))

    def _tab(self, place: int) -> Content:
        width = self.size.width // 2
        words = Content(" ") + title(place, self.unveiled[place] if self.unveiled else None)
        if not self.unveiled and place != self.active:
            words += Content("  not in view")
        words = words.truncate(width, ellipsis=True).extend_right(max(0, width - words.cell_length))
        return words.stylize("bold on $panel" if place == self.active else "$quiet")


def title(place: int, whose: Unveiled | None) -> Content:
    """`Left`; after the vote `Left was A  smollm2-bf16  bf16`."""
    if whose is None:
        return Content.assemble((TITLES[place], "bold"))
    colour = TEXT_COLOURS[whose.number]
    name, badge = (visible(text, keep_newlines=False) for text in (whose.side.profile.name, whose.side.label))
    return Content.assemble(
        (f"{TITLES[place]} was ", "$quiet"),
        (f"{LETTERS[whose.number]}  ", f"bold {colour}"),
        (name, "bold"),
        (f"  {badge}", colour),
    )
