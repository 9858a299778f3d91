"""The whole program in a terminal, with real workers: what is left of it when something is killed."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

DEADLINE_S = 90.0


class Terminal:
    """`quantduel` in a pseudo-terminal; what it writes is drained and kept."""

    def __init__(self, *profiles: Path) -> None:
        master, slave = pty.openpty()
        self._master, self.seen = master, b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tui", *map(str, profiles)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "36"},
            start_new_session=True,
        )
        os.close(slave)

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, alive now."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if "engine.worker" in " ".join(child.cmdline())]

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
        os.close(self._master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    files = []
    for name in ("left", "right"):
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text("model: {source: 'random:tiny'}\ngeneration: {max_new_tokens: 2000}\n")
    opened = Terminal(*files)
    yield opened
    opened.close()


def test_killing_the_screen_leaves_no_worker_behind(terminal: Terminal) -> None:
    terminal.wait(lambda: len(terminal.workers()) == 2, "two workers start")
    terminal.wait(lambda: terminal.seen.count(b"ready") >= 2, "both are ready")
    workers = terminal.workers()
    terminal.type("Hello\r")
    terminal.wait(lambda: b"answering" in terminal.seen, "an answer begins")
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
