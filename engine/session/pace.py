"""How far a bench is, and a rough guess at the time left. Pure."""


class Pace:
    """Work done and left, for the estimate of the time left."""

    def __init__(self) -> None:
        self.left = 0.0
        self._done = self._spent_s = 0.0

    def add(self, done: float, seconds: float) -> None:
        """A part was done, in this time."""
        self.left -= done
        self._done += done
        self._spent_s += seconds

    @property
    def share(self) -> float:
        """How much of all work is done."""
        return self._done / (self._done + self.left) if self._done else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds the rest will take at the pace so far; None before anything is done."""
        return self.left * self._spent_s / self._done if self._done else None
