"""A recording on the duel's screen: marked as one, at its own pace or another, paused, or all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

from engine.recordings.playback import Pace
from engine.recordings.recording import Recording
from engine.sanitize import visible
from engine.units import time_text
from tui.screens.duel.duel import DuelScreen
from tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from tui.duel.bridge import Bridge
    from tui.duel.replay import ReplayBridge

BETWEEN_TURNS_NS = 1_500_000_000
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class ReplayBar(Static):
    """What is played, how far it is, and how fast, where the prompt would be."""

    DEFAULT_CSS = """
    ReplayBar { height: auto; padding: 0 2; background: $panel; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    place: reactive[str] = reactive("")
    state: reactive[str] = reactive("")

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._recording = recording

    def render(self) -> Content:
        """`● recording of 2026-11-27 22:21   Three facts   turn 1 of 2   ×1`."""
        title = visible(self._recording.title, keep_newlines=False)
        when = visible(time_text(self._recording.created), keep_newlines=False)
        mark = Content.assemble(
            ("● recording", "bold $text-error"), (f" of {when}" if when else "", "$quiet")
        )
        return Content("   ").join(
            [mark, Content.assemble((self.place, "$quiet")), Content(self.state), Content(title)]
        )


class ReplayScreen(DuelScreen, inherit_bindings=False):
    """Plays a recording; asks and loads nothing."""

    plays_recording = True

    BINDINGS = [
        Binding("q,escape", "leave", "Leave", priority=True, key_display="esc"),
        Binding("space", "pause", "Pause", priority=True),
        Binding("plus,right", "speed(1)", "Faster", priority=True),
        Binding("minus,left", "speed(-1)", "Slower", priority=True),
        Binding("enter", "skip", "To the end", priority=True),
        Binding("r", "again", "Again", priority=True),
        Binding("f3", "lens", "Lens"),
        Binding("ctrl+n", "other_side", "Side"),
        Binding("ctrl+g", "copy", "Copy"),
        Binding("ctrl+s", "export", "Export"),
        Binding("pageup", "scroll(-1)", "Scroll the answers up", show=False, priority=True),
        Binding("pagedown", "scroll(1)", "Scroll the answers down", show=False, priority=True),
        Binding("f1", "app.help", "Help"),
        Binding("f12", "view", "View", tooltip="Markdown, thoughts and notes, raw text, word against word"),
        Binding("ctrl+d", "app.quit", "Quit", show=False),
    ]

    def __init__(self, recording: Recording, speed: float = 1.0) -> None:
        super().__init__(recording.profiles)
        self.recording = recording
        self.pace = Pace(speed)
        self._speed = speed
        self._replay: ReplayBridge

    def compose(self) -> ComposeResult:
        for widget in super().compose():
            if isinstance(widget, Prompt):
                widget.display, widget.disabled = False, True
                yield ReplayBar(self.recording)
            yield widget

    def typed(self, event: events.Key | events.Paste) -> None:
        """There is nobody to be asked."""

    def open_bridge(self) -> Bridge:
        """The recording's."""
        from tui.duel.replay import ReplayBridge

        self._replay = ReplayBridge(self.recording, self.pace, self.post_message)
        return self._replay

    def action_leave(self) -> None:
        """Back; where there is nothing to go back to, leave the program."""
        if len(self.app.screen_stack) > 1:
            self.dismiss()
        else:
            self.app.run_worker(self.app.action_quit, group="quit")  # type: ignore[arg-type]

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self.pace.toggle()
        self._tell()

    def action_speed(self, step: int) -> None:
        """Faster or slower."""
        now = self.pace.speed or SPEEDS[-1]
        faster = [speed for speed in SPEEDS if (speed - now) * step > 0]
        if faster:
            self.pace.speed = self._speed = min(faster) if step > 0 else max(faster)
        self._tell()

    def action_skip(self) -> None:
        """All that is left at once."""
        self.pace.skip()
        self._tell()

    async def action_again(self) -> None:
        """From the beginning, below what was played, at the speed it had."""
        self.pace.skip()
        for name in ("load", *(f"load-{side}" for side in range(len(self.panes)))):
            self.workers.cancel_group(self, name)
        await self.close()
        self.pace = Pace(self._speed or 1.0)
        self._start()

    def action_scroll(self, direction: int) -> None:
        """Scroll all answers."""
        self._scroll(Prompt.Scrolled(direction))

    async def _load_all(self, sides: object = None, *, goes_on: bool = False) -> None:
        """What is loaded in a recording comes at once; then its turns."""
        for side in range(len(self.panes)):
            await self._replay.load(side)
        for number, turn in enumerate(self.recording.turns, 1):
            self.query_one(ReplayBar).place = f"turn {number} of {len(self.recording.turns)}"
            self._tell()
            await self.pace.wait(BETWEEN_TURNS_NS)
            await self._replay.play(turn)
        self.query_one(ReplayBar).state = "the end: r plays it again"

    async def _recording(self) -> Recording | None:
        return self.recording

    def _tell(self) -> None:
        speed = self.pace.speed
        words = "paused" if self.pace.paused else f"×{speed:g}" if speed else "all at once"
        self.query_one(ReplayBar).state = words
