"""The terminal of this process: given back as it was when a signal ends the process, and never outlived.

Nothing here goes through Textual, whose way out needs a live terminal, a loop that turns and threads that
end: a thread of our own waits for the signal or the hang-up, puts the terminal back, and ends the process.
The workers follow, since their parent is gone; the history's transactions are whole. Knows no widget.
"""

import os
import select
import signal
import termios
import time
from contextlib import suppress
from threading import Thread

from engine import paths
from engine.errors import InputError

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
PATIENCE_S = 1.0  # for a terminal that takes nothing any more
STDIN, STDERR = 0, 2  # Textual reads the one and writes to the other
Modes = list[int | list[bytes | int]]
LEAVE = (
    b"\x1b[?2026l"  # synchronized output
    b"\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"  # mouse
    b"\x1b[?1004l\x1b[?2004l\x1b[?2048l"  # reports of focus, paste and size
    b"\x1b[?7h\x1b[0m\x1b[<u"  # line wrap, colours, kitty's keys
    b"\x1b[?1049l\x1b[?25h"  # the other screen, the cursor
)


def require() -> None:
    """InputError where there is no terminal to draw on and to read keys from, and no browser either."""
    if paths.terminal().is_browser:
        return
    without = [name for number, name in enumerate(("stdin", "stdout", "stderr")) if not os.isatty(number)]
    hint = "`quantduel duel A B -p TEXT` needs none, and `quantduel --help` shows what else does not"
    if without:
        are_none = "is none" if len(without) == 1 else "are none"
        raise InputError(f"the screen needs a terminal, and {' and '.join(without)} {are_none}", hint)
    if paths.terminal().is_plain:
        raise InputError("the screen needs a terminal that knows more than TERM says", hint)


def guard() -> None:
    """From now on a signal that ends the process gives the terminal back, with 128 + its number as exit code.

    So does the end of the terminal itself, as if SIGHUP had come: that reaches the session's leader alone,
    which may be `make` and keep it for itself, or it is ignored, as below `nohup`.
    """
    reader, writer = os.pipe()
    modes = _modes()

    def passed_on(number: int, _frame: object) -> None:
        os.write(writer, bytes([number]))
        time.sleep(PATIENCE_S)
        os._exit(128 + number)

    for number in SIGNALS:
        signal.signal(number, passed_on)
    Thread(target=_wait, args=(reader, modes), name="terminal", daemon=True).start()


def _wait(reader: int, modes: Modes | None) -> None:
    waiting = select.poll()
    waiting.register(reader, select.POLLIN)
    if modes is not None:
        waiting.register(STDIN, 0)  # a hang-up is reported unasked
    found = dict(waiting.poll())
    if reader not in found:
        os._exit(128 + signal.SIGHUP)
    number = os.read(reader, 1)[0]
    _give_back(modes)
    os._exit(128 + number)


def _modes() -> Modes | None:
    """Whether lines are edited, characters echoed, and so on; None where there is no terminal."""
    try:
        return termios.tcgetattr(STDIN)
    except termios.error:
        return None


def _give_back(modes: Modes | None) -> None:
    """What Textual changed, if it did; what still waits to be written goes nowhere."""
    if modes is None or _modes() == modes:
        return
    terminal, nowhere = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDERR)
    with suppress(OSError, termios.error):
        os.write(terminal, LEAVE)
        termios.tcflush(STDIN, termios.TCIFLUSH)  # reports of the mouse are no input for the shell
        termios.tcsetattr(STDIN, termios.TCSANOW, modes)
