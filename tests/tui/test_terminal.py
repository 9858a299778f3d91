"""The whole program in a terminal, with real workers: what is left of it when something is killed."""

import os
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.tui.program import Terminal


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
