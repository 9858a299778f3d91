"""`quantduel worker` over its pipes: what it says by itself, and when it ends."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def end() -> Iterator[subprocess.Popen[bytes]]:
    """A far end that bears a second of silence."""
    command = [sys.executable, "-P", "-m", "tui", "worker", "--patience", "1"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def heard(end: subprocess.Popen[bytes]) -> dict[str, object]:
    assert end.stdout
    line: dict[str, object] = json.loads(end.stdout.readline())
    return line


def say(end: subprocess.Popen[bytes], **command: object) -> None:
    assert end.stdin
    end.stdin.write(json.dumps(command).encode() + b"\n")
    end.stdin.flush()


def test_a_line_at_rest_may_be_silent_and_any_other_may_not(end: subprocess.Popen[bytes]) -> None:
    assert heard(end)["event"] == "hello"
    say(end, command="rest")
    assert [heard(end)["event"] for _ in range(10)] == ["beat"] * 10  # two seconds of them
    say(end, command="ping", ns=5)
    while heard(end).get("echo_ns") != 5:
        pass
    assert end.stdout
    assert b"beat" in end.stdout.read()  # up to its end
    assert end.wait(30) == 0


def test_it_ends_with_its_input(end: subprocess.Popen[bytes]) -> None:
    assert heard(end)["event"] == "hello"
    assert end.stdin
    end.stdin.close()
    assert end.wait(30) == 0
