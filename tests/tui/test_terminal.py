"""The whole program in a terminal, with real workers: what is left of it when something is killed."""

import os
import shlex
import signal
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.tui.program import STORY, Terminal

PACKED = (
    "model: {source: demo}\nquantization: {method: llama_cpp}\n"  # its worker needs no torch: no long start
)
TORCH = "model: {source: 'random:tiny'}\n"


def written(folder: Path, text: str, tokens: int = 2000) -> list[Path]:
    """Two profiles that answer this long."""
    found = [folder / "left.yaml", folder / "right.yaml"]
    for file in found:
        file.write_text(f"{text}generation: {{max_new_tokens: {tokens}}}\n")
    return found


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two profiles that load in no time and answer for long."""
    return written(tmp_path, PACKED)


@pytest.fixture
def terminal(files: list[Path]) -> Iterator[Terminal]:
    opened = Terminal(*files)
    yield opened
    opened.close()


@pytest.mark.parametrize("text", [TORCH, PACKED], ids=["torch", "llama.cpp"])
def test_killing_the_screen_leaves_no_worker_behind(
    tmp_path: Path, request: pytest.FixtureRequest, text: str
) -> None:
    terminal = Terminal(*written(tmp_path, text))
    request.addfinalizer(terminal.close)
    terminal.begin("answering")
    workers = terminal.workers()
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


def test_it_can_be_put_aside_and_taken_up(tmp_path: Path) -> None:
    files = written(tmp_path, PACKED, tokens=60)
    opened = Terminal(program=("bash", "--norc", "-i"))
    try:
        opened.type(shlex.join([sys.executable, "-m", "tui", *map(str, files)]) + "\r")
        opened.begin("answering")
        (quantduel,) = psutil.Process(opened.process.pid).children()
        workers = opened.workers()
        for keys, resumed in (("\x1a", "fg"), ("\x1a", "bg; fg")):
            opened.type(keys)
            opened.wait(lambda: quantduel.status() == psutil.STATUS_STOPPED, "it stops")
            opened.wait(lambda: _is_left(opened.seen), "the screen is left")
            assert all(worker.status() != psutil.STATUS_STOPPED for worker in workers)
            opened.type("echo $((40 + 2))$((40 + 2))\r")
            opened.wait(lambda: b"4242" in opened.seen, "the shell answers")
            opened.type(f"{resumed}\r")
            opened.wait(lambda: not _is_left(opened.seen), "it is back")
        opened.wait(
            lambda: "same answer" in opened.screen or "diverge" in opened.screen, "both have answered"
        )
        opened.type("\x04")
        opened.wait(lambda: not quantduel.is_running(), "it ends")
    finally:
        opened.close()


def _is_left(seen: bytes) -> bool:
    return seen.rfind(b"\x1b[?1049l") > seen.rfind(b"\x1b[?1049h")


def test_without_a_shell_it_is_not_put_aside(terminal: Terminal) -> None:
    terminal.begin("ready")
    process = psutil.Process(terminal.process.pid)
    terminal.type("\x1a")
    terminal.wait(lambda: "no shell" in terminal.screen, "it says why")
    os.kill(process.pid, signal.SIGTSTP)
    terminal.type(f"{STORY}\r")
    terminal.wait(lambda: "answering" in terminal.screen, "an answer begins")
    assert process.status() != psutil.STATUS_STOPPED
