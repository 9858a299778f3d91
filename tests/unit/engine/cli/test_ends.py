"""How the command line ends where its streams or its disk fail it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = [sys.executable, "-c", "from engine.cli import main; main()"]


LIST = [*MAIN, "profiles", "list"]


def shell(line: str, *command: str) -> subprocess.CompletedProcess[str]:
    """The command with a shell's redirections after it."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", f"{line}", "bash", *command], capture_output=True, text=True, check=False, env=buffered
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk here")
@pytest.mark.parametrize("arguments", [["profiles", "list"], ["--help"], ["plan", "random:tiny", "--json"]])
def test_a_full_disk_on_stdout_is_reported_in_a_line(arguments: list[str]) -> None:
    ended = shell('"$@" > /dev/full', *MAIN, *arguments)
    assert (ended.returncode, ended.stderr) == (2, "quantduel: stdout: No space left on device\n")


@pytest.mark.parametrize(
    ("redirection", "code"),
    [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("2>/dev/full", 0), (">/dev/full 2>/dev/full", 2)],
)
def test_closed_and_full_streams_end_no_command_in_a_traceback(redirection: str, code: int) -> None:
    ended = shell(f'"$@" {redirection}', *LIST)
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False)


def test_an_error_that_nobody_can_read_keeps_its_exit_code() -> None:
    assert shell('"$@" 2>/dev/full', *MAIN, "profiles", "show", "no-such-profile").returncode == 2
