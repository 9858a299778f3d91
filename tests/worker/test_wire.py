"""The wire and the process around it, in a small program that has no model."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.config.profile import Generation
from engine.protocol.answers import Decoded, Generate, Message
from engine.protocol.failure import Cancel, Failed
from engine.protocol.wire import Command, Event, decode_event, encode

DEADLINE_S = 30
ECHO = """
import sys
from engine.protocol.answers import Decoded
from engine.worker.wire import Wire, follow_parent

follow_parent()
wire = Wire()
{noise}
wire.emit(Decoded(request=0, token_id=0, text="ready"))
while True:
    received_ns, command = wire.next_command()
    while {waiting}:
        pass
    wire.emit(Decoded(request=command.request, token_id=0, text=type(command).__name__, ns=received_ns))
"""
NOISE = """
import os, subprocess
print("a library says hello", flush=True)
os.write(1, b"and its C code too\\n")
subprocess.run([sys.executable, "-c", "print('and a child')"])
assert sys.stdin.read() == "", "a library that asks gets no answer, and takes none of ours"
"""

MUCH = """
import os
def say_much():
    for n in range(3000):
        wire.emit(Decoded(request=0, token_id=n, text="word", ns=n << 40))
    os.write(2, b"all is said")
"""


@contextmanager
def program(noise: str = "", waiting: str = "False") -> Iterator[subprocess.Popen[bytes]]:
    """The program above, once it is ready; killed in the end."""
    source = ECHO.format(noise=noise, waiting=waiting)
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", source], stdin=pipe, stdout=pipe, stderr=pipe)
    watchdog = threading.Timer(DEADLINE_S, process.kill)
    watchdog.start()
    try:
        assert reply(process) == (0, "ready")
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def receive(process: subprocess.Popen[bytes]) -> Event:
    assert process.stdout
    return decode_event(process.stdout.readline())


def reply(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Request and text of the next event, a Decoded."""
    event = receive(process)
    assert isinstance(event, Decoded), event
    return event.request, event.text


def send(process: subprocess.Popen[bytes], line: bytes | Command) -> int:
    """Send a line; the moment before it."""
    assert process.stdin
    now_ns = time.monotonic_ns()
    process.stdin.write((line if isinstance(line, bytes) else encode(line)) + b"\n")
    process.stdin.flush()
    return now_ns


def request(number: int) -> Generate:
    return Generate(request=number, messages=(Message("user", "hi"),), generation=Generation())


def test_what_libraries_print_goes_to_stderr_and_leaves_the_wire_alone() -> None:
    with program(noise=NOISE) as process:
        send(process, request(1))
        assert reply(process) == (1, "Generate")
        process.kill()
        assert process.stderr
        said = process.stderr.read()
    for line in (b"a library says hello", b"and its C code too", b"and a child"):
        assert line in said


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"{}",
        b"\xff\xfe",
        b"",
        b'{"command": "dance"}',
        b'{"command": "generate", "request": "one"}',
        b'{"command": "generate", "request": 1}',
    ],
)
def test_a_malformed_line_is_bad_input_and_the_next_one_works(line: bytes) -> None:
    with program() as process:
        send(process, line)
        event = receive(process)
        assert isinstance(event, Failed)
        assert event.kind == "bad_input"
        assert event.message.startswith("not a command: ")
        send(process, request(2))
        assert reply(process) == (2, "Generate")


def test_a_command_is_stamped_when_it_comes() -> None:
    with program() as process:
        before_ns = send(process, request(1))
        event = receive(process)
        assert before_ns < event.ns < time.monotonic_ns()


def test_cancel_reaches_a_busy_main_thread() -> None:
    with program(waiting="not wire.is_cancelled(command.request)") as process:
        send(process, request(5))
        send(process, Cancel(request=4))  # of another request
        send(process, Cancel(request=5))
        assert reply(process) == (5, "Generate")


def test_the_end_of_stdin_ends_a_busy_process() -> None:
    with program(waiting="True") as process:
        send(process, request(1))
        assert process.stdin
        process.stdin.close()
        assert process.wait(5) == 0
        process.stdin = None


def test_a_reader_that_is_gone_ends_the_process() -> None:
    with program() as process:
        assert process.stdout
        process.stdout.close()
        send(process, request(1))
        assert process.wait(5) == 0
        process.stdout = None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system alone says what a pipe holds")
def test_thousands_of_tokens_wait_for_a_reader_that_is_stopped() -> None:
    with program(noise=MUCH, waiting="say_much()") as process:
        send(process, request(1))
        assert process.stderr
        assert process.stderr.read(11) == b"all is said"


def test_ctrl_c_is_the_parents_business() -> None:
    with program() as process:
        process.send_signal(signal.SIGINT)
        send(process, request(1))
        assert reply(process) == (1, "Generate")


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_killing_the_parent_kills_the_process_even_with_its_stdin_open() -> None:
    """Both of our pipes go through a parent in between, so the end of stdin is not what ends the process."""
    source = ECHO.format(noise="", waiting="True").replace(
        'text="ready"', "text=str(__import__('os').getpid())"
    )
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {source!r}])"
    stdin, commands = os.pipe()
    events, stdout = os.pipe()
    parent = subprocess.Popen([sys.executable, "-c", start], stdin=stdin, stdout=stdout)
    os.close(stdin)
    os.close(stdout)
    watchdog = threading.Timer(DEADLINE_S, parent.kill)
    watchdog.start()
    with os.fdopen(events, "rb") as lines:
        assert isinstance(decode_event(lines.readline()), Decoded)
        killed_s = time.monotonic()
        parent.kill()
        assert lines.read() == b""  # until the last holder of the other end is gone
    assert time.monotonic() - killed_s < 5
    watchdog.cancel()
    parent.wait()
    os.close(commands)
