"""The process around a command: its standard streams are always there, and a signal ends it in order.

Owns file descriptors 0 to 2, whether its folder is there, and what SIGTERM and SIGHUP do. Knows no command.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TextIO


def open_streams() -> None:
    """Put the null device where stdout or stderr was closed, and keep other files away from their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _occupy(number)
            if name != "stdin":
                setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _occupy(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != number:
            os.dup2(nothing, number)
            os.close(nothing)


def end_in_order() -> None:
    """On SIGTERM and SIGHUP leave as by an exception, so that workers end; the exit code is 128 + the number.

    A second one ends the process at once. One that is ignored, as below `nohup`, stays so.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)


def has_folder() -> bool:
    """Whether the folder that the process is in is still there."""
    try:
        return bool(Path.cwd())
    except FileNotFoundError:
        return False


def flush() -> None:
    """Have everything written; OSError where stdout takes it not. What stderr does not take is nobody's."""
    sys.stdout.flush()
    flush_talk()


def flush_talk() -> None:
    """What stderr does not take is nobody's, and changes no exit code."""
    try:
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO | None = None) -> None:
    """Send what a stream, stdout by default, has not taken nowhere: at the end no flush of it fails then."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())
