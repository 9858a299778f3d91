"""The worker's end of the wire: commands in on stdin, events out on stdout; the process outlives neither.

Owns the two file descriptors. Libraries may print and read: what they see as stdout is
stderr, and their stdin is empty. Must not know torch: it is up before torch is.
"""

import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import msgspec

from engine.errors import GenerationError
from engine.protocol.failure import Cancel, Failed
from engine.protocol.wire import LONGEST_LINE_BYTES, Event, Task, decode_command, encode

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_HELD_BYTES = 1 << 20  # thousands of tokens, for a reader that is stopped meanwhile


class Wire:
    """Commands and events of one worker process. Construct once, before anything can print."""

    def __init__(self) -> None:
        self._events = _taken_over(1, by=2)
        _widen(self._events)
        with Path(os.devnull).open("rb") as nothing:
            self._commands = _taken_over(0, by=nothing.fileno())
        self._waiting: SimpleQueue[tuple[int, Task]] = SimpleQueue()
        self._cancelled: set[int] = set()
        self._first: tuple[int, Task] | None = None
        self._writing = threading.Lock()
        threading.Thread(target=self._read, name="wire", daemon=True).start()

    def emit(self, event: Event) -> None:
        """Write one event; GenerationError if it is too long. Where nobody reads, the process exits."""
        line = memoryview(encode(event) + b"\n")
        if len(line) > LONGEST_LINE_BYTES:
            raise GenerationError(
                f"the result has {len(line) >> 20} MiB, too much for one message",
                "ask for fewer tokens at once",
            )
        with self._writing:
            try:
                while line:
                    line = line[os.write(self._events, line) :]
            except BrokenPipeError:
                os._exit(0)

    def first_command(self) -> Task:
        """Wait for the first command, which `next_command` gives again."""
        self._first = self._first or self._waiting.get()
        return self._first[1]

    def next_command(self) -> tuple[int, Task]:
        """Wait for a command; with it the monotonic time in ns at which it came."""
        first, self._first = self._first, None
        return first or self._waiting.get()

    def is_cancelled(self, request: int) -> bool:
        """Whether a Cancel came for this request; true even while the main thread is busy."""
        return request in self._cancelled

    def _read(self) -> None:
        with os.fdopen(self._commands, "rb") as lines:
            for line in lines:
                self._receive(line)
        os._exit(0)  # the parent is gone or wants no more: whatever the main thread is doing ends here

    def _receive(self, line: bytes) -> None:
        received_ns = time.monotonic_ns()
        try:
            command = decode_command(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.emit(Failed(kind="bad_input", message=f"not a command: {error}"))
            return
        if isinstance(command, Cancel):
            self._cancelled.add(command.request)
        else:
            self._waiting.put((received_ns, command))


def follow_parent() -> None:
    """Be killed when the parent dies, however it dies; Ctrl-C in the terminal is the parent's business.

    Linux sends the signal when the *thread* that started this process ends. Elsewhere, and where the parent
    dies before this call, the end of stdin does the same.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "linux":
        return
    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(0)


def _widen(pipe: int) -> None:
    """Let the pipe hold more before a write waits, where it can: a wait would count as a slow token."""
    with suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _HELD_BYTES)


def _taken_over(fd: int, *, by: int) -> int:
    """A private copy of `fd`, which from now on is `by`; child processes inherit only the latter."""
    private = os.dup(fd)
    os.dup2(by, fd)
    return private
