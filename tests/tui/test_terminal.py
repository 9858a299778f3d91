"""The whole program in a terminal, with real workers: what is left of it when something is killed."""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from tests.tui.output.terminal import Terminal as Screen

DEADLINE_S = 90.0
UNSHOWN = re.compile(  # modes, the mouse's shape, and a sequence that is not all there
    r"\x1b\[[?<>][^a-zA-Z]*[a-zA-Z]|\x1b\]22;\w*\x07|(\x1b\][^\x1b]*)?\x1b[^a-zA-Z]*$|\x1b\][^\x1b\x07]*$"
)


class Terminal:
    """`quantduel` in a pseudo-terminal; what it writes is drained and kept."""

    def __init__(self, *profiles: Path, leader: Sequence[str] = ()) -> None:
        master, slave = pty.openpty()
        self._master, self.seen, self._closed = master, b"", False
        self.modes = termios.tcgetattr(slave)
        program = [sys.executable, "-m", "tui", *map(str, profiles)]
        led = [*leader, shlex.join(program)] if leader else program
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
            self.type("Hello\r")
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


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two profiles that load in no time and answer for long."""
    found = [tmp_path / "left.yaml", tmp_path / "right.yaml"]
    for file in found:
        file.write_text("model: {source: 'random:tiny'}\ngeneration: {max_new_tokens: 2000}\n")
    return found


@pytest.fixture
def terminal(files: list[Path]) -> Iterator[Terminal]:
    opened = Terminal(*files)
    yield opened
    opened.close()


def test_killing_the_screen_leaves_no_worker_behind(terminal: Terminal) -> None:
    terminal.wait(lambda: len(terminal.workers()) == 2, "two workers start")
    terminal.wait(lambda: terminal.screen.count("ready") >= 2, "both are ready")
    workers = terminal.workers()
    terminal.type("Hello\r")
    terminal.wait(lambda: "answering" in terminal.screen, "an answer begins")
    os.kill(terminal.process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive


def test_leaving_ends_the_workers_and_restores_the_terminal(terminal: Terminal) -> None:
    terminal.wait(lambda: len(terminal.workers()) == 2, "two workers start")
    workers = terminal.workers()
    terminal.type("\x04")  # Ctrl+D
    terminal.wait(lambda: terminal.process.poll() is not None, "the program ends")
    assert terminal.process.returncode == 0
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive
    terminal.drain()
    assert b"\x1b[?1049l" in terminal.seen  # the alternate screen is left


LEADERS = {
    "none": (),
    "ignores SIGHUP": ("sh", "-c", "trap '' HUP; eval \"exec $0\""),
    "waits for it": ("sh", "-c", 'trap : HUP; eval "$0"; :'),
}


@pytest.mark.parametrize(
    ("leader", "stage"), [("none", "screen"), ("ignores SIGHUP", "loading"), ("waits for it", "answering")]
)
def test_nothing_outlives_its_terminal(files: list[Path], leader: str, stage: str) -> None:
    opened = Terminal(*files, leader=LEADERS[leader])
    try:
        opened.begin(stage)
        everything = [psutil.Process(opened.process.pid), *opened.children()]
        opened.hang_up()
        _, alive = psutil.wait_procs(everything, timeout=5)
        assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("number", "stage"),
    [
        (signal.SIGTERM, "screen"),
        (signal.SIGTERM, "loading"),
        (signal.SIGTERM, "answering"),
        (signal.SIGQUIT, "answering"),
        (signal.SIGHUP, "screen"),
        (signal.SIGINT, "screen"),
    ],
)
def test_a_signal_gives_the_terminal_back(terminal: Terminal, number: signal.Signals, stage: str) -> None:
    terminal.begin(stage)
    workers = terminal.workers()
    os.kill(terminal.process.pid, number)
    terminal.wait(lambda: terminal.process.poll() is not None, "the program ends")
    terminal.drain()
    assert terminal.process.returncode == 128 + number
    for on, off in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?1003h", b"\x1b[?1003l")):
        assert terminal.seen.rfind(off) > terminal.seen.rfind(on)
    assert termios.tcgetattr(terminal._master) == terminal.modes
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive


def test_it_can_be_put_aside_and_taken_up(terminal: Terminal) -> None:
    terminal.begin("ready")
    process = psutil.Process(terminal.process.pid)
    os.kill(process.pid, signal.SIGTSTP)
    terminal.wait(lambda: process.status() == psutil.STATUS_STOPPED, "it stops")
    terminal.drain()
    assert terminal.seen.rfind(b"\x1b[?1049l") > terminal.seen.rfind(b"\x1b[?1049h")
    assert termios.tcgetattr(terminal._master) == terminal.modes
    os.kill(process.pid, signal.SIGCONT)
    terminal.wait(
        lambda: terminal.seen.rfind(b"\x1b[?1049h") > terminal.seen.rfind(b"\x1b[?1049l"), "it is back"
    )
    terminal.type("Hello\r")
    terminal.wait(lambda: "answering" in terminal.screen, "an answer begins")
