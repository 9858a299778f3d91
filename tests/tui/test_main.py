"""The console script: what happens before the screen opens."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUI = [sys.executable, "-m", "tui"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["smollm2-bf61"], "smollm2-bf16"),
        (["smollm2-bf16", "no/such/profile.yaml"], "no/such/profile.yaml"),
        (["random:nothing"], "no shape named"),
    ],
)
def test_a_wrong_name_ends_before_the_screen_opens(names: list[str], says: str) -> None:
    result = subprocess.run([*TUI, *names], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 2
    assert says in result.stderr
    assert result.stdout == ""
    assert "\x1b" not in result.stderr
    assert "Traceback" not in result.stderr


def test_without_a_terminal_the_screen_says_so_and_ends() -> None:
    result = subprocess.run(
        [*TUI, "random:tiny", "random:tiny"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "the screen needs a terminal, and stdin and stdout and stderr is none" in result.stderr


@pytest.mark.parametrize("term", ["dumb", ""])
@pytest.mark.parametrize("piped", [{}, {"stdin": subprocess.DEVNULL}, {"stdout": subprocess.DEVNULL}])
def test_a_terminal_that_cannot_draw_is_refused(term: str, piped: dict[str, int]) -> None:
    master, slave = os.openpty()
    streams = {"stdin": slave, "stdout": slave, "stderr": slave, **piped}
    env = os.environ | {"TERM": "xterm" if piped else term}
    process = subprocess.Popen([*TUI, "random:tiny", "random:tiny"], cwd=ROOT, env=env, **streams)
    assert process.wait(30) == 2
    os.close(slave)
    said = os.read(master, 1 << 12)
    os.close(master)
    assert said.startswith(b"quantduel: the screen needs a terminal")


def test_help_shows_the_screen_and_the_commands() -> None:
    result = subprocess.run([*TUI, "--help"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "the duel on the screen" in result.stdout
    assert "doctor" in result.stdout


def test_the_first_picture_needs_no_torch_and_no_engine_process() -> None:
    code = "import sys, tui.app; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    large = {"torch", "pynvml", "psutil", "markdown_it"}
    late = large | {"engine.session.client", "engine.duel.duel", "tui.duel.bridge"}
    assert not late & set(result.stdout.split())
