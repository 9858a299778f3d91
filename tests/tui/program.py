"""The whole program in a pseudo-terminal, watched and typed into."""

import os
import pty
import re
import select
import shlex
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.tui.output.terminal import Terminal as Screen

DEADLINE_S = 90.0
STORY = "Write a very long story about the sea."  # the demo model finds no end
UNSHOWN = re.compile(  # modes, the window's title, the mouse's shape, and a sequence that is not all there
    r"\x1b\[[?<>][^a-zA-Z]*[a-zA-Z]|\x1b\[2[23];2t|\x1b\](2|9);[^\x1b\x07]*\x07|\x1b\]22;\w*\x07|(\x1b\][^\x1b]*)?\x1b[^a-zA-Z]*$|\x1b\][^\x1b\x07]*$"
)


class Terminal:
    """`quantduel` in a pseudo-terminal; what it writes is drained and kept."""

    def __init__(
        self,
        *profiles: str | Path,
        leader: Sequence[str] = (),
        program: Sequence[str] = (sys.executable, "-m", "tui"),
    ) -> None:
        master, slave = pty.openpty()
        self._master, self.seen, self._closed = master, b"", False
        self.modes = termios.tcgetattr(slave)
        call = [*program, *map(str, profiles)]
        led = [*leader, shlex.join(call)] if leader else call
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *led],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "36"},
        )
        os.close(slave)

    def children(self) -> list[psutil.Process]:
        """Everything it started, alive now."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, alive now."""
        return [child for child in self.children() if "engine.worker" in " ".join(child.cmdline())]

    def begin(self, stage: str) -> None:
        """Come this far."""
        self.wait(lambda: b"\x1b[?1049h" in self.seen, "the screen opens")
        if stage == "screen":
            return
        self.wait(lambda: len(self.workers()) == 2, "two workers start")
        if stage == "loading":
            return
        self.wait(lambda: self.screen.count("ready") >= 2, "both are ready")
        if stage == "answering":
            self.type(f"{STORY}\r")
            self.wait(lambda: "answering" in self.screen, "an answer begins")

    @property
    def screen(self) -> str:
        """What it shows."""
        screen = Screen(120, 36)
        screen.feed(UNSHOWN.sub("", self.seen.decode(errors="ignore")))
        return "\n".join(screen.lines)

    def hang_up(self) -> None:
        """The terminal goes, as a window that is closed does."""
        self._closed = True
        os.close(self._master)

    def drain(self) -> None:
        """Read what is there, as a terminal does."""
        while select.select([self._master], [], [], 0.05)[0]:
            try:
                self.seen += os.read(self._master, 1 << 16)
            except OSError:
                return  # the program ended

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def wait(self, condition: object, why: str, seconds: float = DEADLINE_S) -> None:
        """Drain until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < end, f"never: {why}; last seen {self.seen[-600:]!r}"
            self.drain()

    def close(self) -> None:
        """End it however it stands."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if not self._closed:
            os.close(self._master)
