"""What the devices do now, in one line, read in the background."""

import asyncio

from textual.content import Content
from textual.widgets import Static

from engine.sanitize import visible
from tui.ending import Ending
from tui.widgets.transcript import BY_HALVES

EVERY_S = 2.0
SLOW_EVERY_S = 10.0  # on a slow line


class Vitals(Static, Ending):
    """Every device's line next to the other's; what is too long is cut off."""

    DEFAULT_CSS = """
    Vitals { height: 1; padding: 0 1; color: $quiet; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def on_mount(self) -> None:
        self.work(self._follow, group="vitals")

    async def _follow(self) -> None:
        await asyncio.sleep(EVERY_S)  # the first picture and the models' start come first
        from engine.machine import vitals

        every_s = SLOW_EVERY_S if self.app.has_class(BY_HALVES) else EVERY_S
        while True:
            found = await asyncio.to_thread(vitals.lines)
            self.update(Content(visible("  ·  ".join(found), keep_newlines=False)))
            await asyncio.sleep(every_s)
