"""How the command line ends where its streams, its disk or its process fail it."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.cli import long_run
from engine.cli.long_run import OutFile
from engine.errors import ExitCode, InputError
from engine.jobs.sheet import Sheet

MAIN = [sys.executable, "-c", "from engine.cli import main; main()"]
LIST = [*MAIN, "profiles", "list"]


def shell(line: str, *command: str) -> subprocess.CompletedProcess[str]:
    """The command with a shell's redirections behind it."""
    return subprocess.run(
        ["bash", "-c", f"{line}", "bash", *command], capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk here")
@pytest.mark.parametrize("arguments", [["profiles", "list"], ["--help"], ["plan", "random:tiny", "--json"]])
def test_a_full_disk_behind_stdout_is_told_in_a_line(arguments: list[str]) -> None:
    ended = shell('"$@" > /dev/full', *MAIN, *arguments)
    assert (ended.returncode, ended.stderr) == (2, "quantduel: stdout: No space left on device\n")


@pytest.mark.parametrize(
    ("redirection", "code"),
    [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("2>/dev/full", 0), (">/dev/full 2>/dev/full", 2)],
)
def test_closed_and_full_streams_end_no_command_in_a_traceback(redirection: str, code: int) -> None:
    ended = shell(f'"$@" {redirection}', *LIST)
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False)


def test_closed_streams_reach_no_worker() -> None:
    ended = shell(
        '"$@" <&- 2>&-', *MAIN, "duel", "random:tiny", "random:tiny", "-p", "hi", "--max-new-tokens", "2"
    )
    assert ended.returncode == 0 and "same answer: all 2 tokens" in ended.stdout


def test_an_error_that_nobody_can_read_keeps_its_exit_code() -> None:
    assert shell('"$@" 2>/dev/full', *MAIN, "profiles", "show", "no-such-profile").returncode == 2


@pytest.mark.parametrize("most", [8, 12, 16])
def test_too_few_descriptors_are_told_without_a_traceback(most: int) -> None:
    duel = [*MAIN, "duel", "random:tiny", "random:tiny", "-p", "hi", "--max-new-tokens", "2"]
    ended = shell(f'ulimit -n {most}; "$@"', *duel)
    assert ended.returncode in {2, 3, 4} and "Traceback" not in ended.stderr
    assert "Too many open files" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_command_and_workers(number: signal.Signals) -> None:
    settings = ["--set", "generation.max_new_tokens=2000"]
    duel = [*MAIN, "duel", "random:tiny", "random:tiny", "-p", "hi", *settings]
    running = subprocess.Popen(duel, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    assert running.stdout and running.stdout.readline().startswith(b"A  ")
    workers = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (128 + number, b"")
    assert workers and not psutil.wait_procs(workers, timeout=10)[1]


def test_a_file_that_cannot_be_written_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = OutFile(tmp_path / "rows.json")
    out.begin(Sheet(document=1))
    with monkeypatch.context() as full:
        full.setattr(long_run, "write", _full)
        out.write(Sheet(document=2))
        out.write(Sheet(document=3))
        assert out.failed
        assert long_run.exit_code(ExitCode.DONE, out, interrupted=False) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err.count("No space left") == 1
    assert out.file.read_text() == "1\n"
    out.write(Sheet(document=4))
    assert out.file.read_text() == "4\n"
    assert long_run.exit_code(ExitCode.DONE, out, interrupted=False) == ExitCode.DONE


def _full(text: str, file: Path) -> None:
    raise InputError(f"{file}: No space left on device")
