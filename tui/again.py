"""Keys that ask first: what would lose work is done when the key is pressed again soon. Knows no widget."""

import time

CONFIRM_S = 2.0


class Again:
    """Remembers what was asked for last."""

    def __init__(self) -> None:
        self._wish: object = None
        self._asked_s = float("-inf")

    def confirmed(self, wish: object) -> bool:
        """Whether the same was asked for a moment ago; otherwise this was the first time."""
        now_s = time.monotonic()
        again = wish == self._wish and now_s - self._asked_s < CONFIRM_S
        self._wish, self._asked_s = (None, float("-inf")) if again else (wish, now_s)
        return again
