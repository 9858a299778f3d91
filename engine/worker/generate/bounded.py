"""Foreign code run in this process, with a limit on its time and its memory.

Owns the process's alarm while it runs. Loops end in ExceedsError, allocations in MemoryError; code that
ignores both, such as C that never returns, ends the process a little later. Memory is limited on Linux only.
"""

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from engine.worker.host import memory_limit

AGAIN_S = 1.0  # for code that catches the alarm and continues
GRACE_S = 10.0  # for code that ignores it


class ExceedsError(BaseException):
    """Time is up. Not an Exception, so that foreign code that catches those does not catch this."""


@contextmanager
def bounded(most_s: float, most_bytes: int) -> Iterator[None]:
    """At most `most_s` seconds, and `most_bytes` bytes more than now. Main thread only."""
    handler = signal.signal(signal.SIGALRM, _exceeds)
    faulthandler.dump_traceback_later(most_s + GRACE_S, exit=True, file=2)
    alarm = signal.setitimer(signal.ITIMER_REAL, most_s, AGAIN_S)
    try:
        with memory_limit.growth(most_bytes):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *alarm)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, handler)


def _exceeds(_signal: int, _frame: FrameType | None) -> None:
    raise ExceedsError
