"""The terminal's driver: Textual paints regions, and what stands on the terminal already is not written.

Pictures go into cells, and at most so many times a second the terminal gets what differs from what it shows.
Everything else that Textual writes (modes, questions, the clipboard) passes as it is.
"""

from __future__ import annotations

import os
import shutil
import signal
from codecs import getincrementaldecoder
from functools import partial
from typing import TYPE_CHECKING

from textual import events
from textual.drivers import linux_driver
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message
from textual.messages import InBandWindowResize

from engine import paths
from tui import job_control
from tui.output.cells import Cells
from tui.output.changes import Writer
from tui.pacer import Pacer

if TYPE_CHECKING:
    from types import FrameType

    from textual.app import App

SYNC, END_SYNC = "\x1b[?2026h", "\x1b[?2026l"
ONE_WRITE = 256  # characters that a terminal takes at once: they need no synchronized output

# What is typed or pasted may be no UTF-8. Textual's decoder is strict, and the program would end with it.
linux_driver.getincrementaldecoder = (  # type: ignore[attr-defined]
    lambda encoding: partial(getincrementaldecoder(encoding), errors="replace")
)


class SparingDriver(LinuxDriver):
    """Writes what changes."""

    PAINTS_PER_SECOND = 60.0

    def __init__(
        self,
        app: App[object],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._cells, self._terminal = Cells(), Writer(erases=paths.terminal().erases_in_colour)
        self._pacer = Pacer(1 / self.PAINTS_PER_SECOND)
        self._synchronizes = False
        self._resized = False
        self._reported: tuple[int, int] | None = None
        """Width and height in band, which may come before the system knows of them."""
        self._is_aside = False

    @property
    def can_suspend(self) -> bool:
        """Whether a shell is there that takes the terminal and gives it back."""
        return job_control.has_shell()

    def write(self, data: str) -> None:
        """A picture is painted when it is time; anything else is passed on."""
        if self._resized:
            self._resized = False
            self._terminal.forget()
            width, height = self._reported or shutil.get_terminal_size()
            self._cells.crop(height, width)
        if data in {SYNC, END_SYNC}:
            self._synchronizes = True  # Textual asked the terminal whether it does
        elif self._cells.paint(data):
            self._pacer.due(self._flush)
        else:
            self._terminal.lose_place()
            super().write(data)

    def process_message(self, message: Message) -> None:
        """Some terminals report their new size in band."""
        if isinstance(message, events.Resize | InBandWindowResize):
            self._resized = True
        if isinstance(message, events.Resize):
            self._reported = message.size.width, message.size.height
        super().process_message(message)

    def redraw(self) -> None:
        """Paint all of it: something else has written to the terminal."""
        self._terminal.forget()
        self._cells.changed.update(range(len(self._cells.rows)))
        self._pacer.due(self._flush)

    def start_application_mode(self) -> None:
        """Begin, or go on after the terminal was somebody else's."""
        self._resized = True
        super().start_application_mode()  # type: ignore[no-untyped-call]
        reported = signal.getsignal(signal.SIGWINCH)

        def resized(number: int, frame: FrameType | None) -> None:
            self._resized = True
            if callable(reported):
                reported(number, frame)

        signal.signal(signal.SIGWINCH, resized)

    def stop_application_mode(self) -> None:
        """End, or make way; what waits is not painted any more."""
        self._pacer.stop()
        super().stop_application_mode()

    def _sigtstp_application(self, *_: object) -> None:
        """SIGTSTP: when the loop is at it, so that nothing is half done."""
        if self._app.is_running:
            self._loop.call_soon_threadsafe(self._put_aside)

    def _sigcont_application(self, *_: object) -> None:
        """SIGCONT, after `fg` or `bg`."""
        if self._app.is_running:
            self._loop.call_soon_threadsafe(self._take_up)

    def _put_aside(self) -> None:
        """Give the terminal back and stop, with whatever the shell has started this by, such as `make`."""
        if self._is_aside or not self.can_suspend:
            return
        self.suspend_application_mode()
        from engine.session import launched

        launched.rest()  # workers elsewhere would take the silence for a line that is cut
        self._is_aside = True
        os.killpg(os.getpgrp(), signal.SIGSTOP)

    def _take_up(self) -> None:
        """Paint again; in the background, where the terminal is the shell's, stop again."""
        if not job_control.is_in_foreground(self.fileno):
            os.killpg(os.getpgrp(), signal.SIGSTOP)
            return
        if not self._is_aside:  # stopped by somebody else, who may have used the terminal
            self.suspend_application_mode()
        self._is_aside = False
        self._must_signal_resume = True
        self.resume_application_mode()
        self.redraw()

    def _flush(self) -> None:
        written = self._terminal.show(self._cells)
        if written and self._synchronizes and len(written) > ONE_WRITE:
            written = SYNC + written + END_SYNC
        if written:
            super().write(written)


class LowBandwidthDriver(SparingDriver):
    """For slow lines: five pictures a second."""

    PAINTS_PER_SECOND = 5.0
