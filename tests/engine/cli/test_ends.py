"""How the command line ends while workers are alive."""

import signal
import subprocess

import psutil
import pytest

from tests.tui.program import STORY
from tests.unit.engine.cli.test_ends import MAIN, shell

PACKED = "smollm2-q4-llama-cpp"  # its worker needs no torch: no long start


def test_closed_streams_reach_no_worker() -> None:
    ended = shell('"$@" <&- 2>&-', *MAIN, "duel", PACKED, PACKED, "-p", "hi", "--max-new-tokens", "2")
    assert ended.returncode == 0 and "same answer: all 2 tokens" in ended.stdout


@pytest.mark.parametrize("most", [8, 12, 16])
def test_too_few_descriptors_are_reported_without_a_traceback(most: int) -> None:
    duel = [*MAIN, "duel", "random:tiny", "random:tiny", "-p", "hi", "--max-new-tokens", "2"]
    ended = shell(f'ulimit -n {most}; "$@"', *duel)
    assert ended.returncode in {2, 3, 4} and "Traceback" not in ended.stderr
    assert "Too many open files" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_command_and_workers(number: signal.Signals) -> None:
    settings = ["--set", "generation.max_new_tokens=2000"]
    duel = [*MAIN, "duel", PACKED, PACKED, "-p", STORY, *settings]
    running = subprocess.Popen(duel, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    assert running.stdout and running.stdout.readline().startswith(b"A  ")
    workers = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (128 + number, b"")
    assert workers and not psutil.wait_procs(workers, timeout=10)[1]
