"""At most so many repaints a second, and never a lost last one. Knows nothing of what is painted."""

import asyncio
from collections.abc import Callable

REPAINTS_PER_SECOND = 20


class Pacer:
    """Runs the latest of many callbacks: at once when the last run is long ago, otherwise when it is time."""

    def __init__(self, interval_s: float = 1 / REPAINTS_PER_SECOND) -> None:
        self._interval_s = interval_s
        self._last_s = float("-inf")
        self._callback: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def due(self, callback: Callable[[], object]) -> None:
        """Run this callback soon, instead of the one that waits."""
        self._callback = callback
        if self._timer is None:
            loop = asyncio.get_running_loop()
            wait_s = self._last_s + self._interval_s - loop.time()
            if wait_s <= 0:
                self._run()
            else:
                self._timer = loop.call_later(wait_s, self._run)

    def stop(self) -> None:
        """Drop what waits: the caller says something newer itself."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._callback = None

    def _run(self) -> None:
        callback, self._callback, self._timer = self._callback, None, None
        self._last_s = asyncio.get_running_loop().time()
        if callback is not None:
            callback()
