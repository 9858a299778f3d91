"""A stretch of foreign code in this process, with a bound on its time and its memory.

Owns the process's alarm while it runs. Loops end in ExceedsError, allocations in MemoryError; code that heeds
neither, such as C that never returns, ends the process a little later. The memory is bounded on Linux alone.
"""

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from engine.worker.host import memory_limit

AGAIN_S = 1.0  # for what catches the alarm, and goes on
GRACE_S = 10.0  # for what does not heed it


class ExceedsError(BaseException):
    """The time is over. No Exception, so that foreign code that catches those does not catch this."""


@contextmanager
def bounded(most_s: float, most_bytes: int) -> Iterator[None]:
    """At most so many seconds, and so many bytes more than now. In the main thread alone."""
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
