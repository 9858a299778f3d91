"""How much of a long run is done, and the one estimate of the time left. Pure: the clock is the caller's."""

from engine.protocol.loading import Staged
from engine.stats.metrics import NS


class Pace:
    """Work done and left, at the mean pace so far. What is done in no time counts as done, and as no pace."""

    def __init__(self, left: float = 0.0, before: float = 0.0) -> None:
        """`before` was done when nobody looked."""
        self.left = left
        self._before, self._done, self._spent_s = before, 0.0, 0.0

    def add(self, done: float, seconds: float) -> None:
        """A part was done, in this time."""
        self.left -= done
        self._done += done
        self._spent_s += seconds

    @property
    def share(self) -> float:
        """How much of all work is done."""
        done = self._before + self._done
        return done / (done + self.left) if done else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds the rest will take at the pace so far; None before anything is done."""
        return self.left * self._spent_s / self._done if self._done else None


class StagePace:
    """The pace of what a worker makes, by the counts and stamps of its stages, one stage at a time."""

    def __init__(self) -> None:
        self._latest: Staged | None = None
        self._pace = Pace()

    def take(self, staged: Staged) -> tuple[float | None, float | None]:
        """The stage's share and the seconds left of it; None where nothing is counted, or not yet.

        Between two counts the estimate runs down with the time.
        """
        latest = self._latest
        if latest is None or _kind(latest) != _kind(staged):
            self._latest, self._pace = staged, Pace(staged.total - staged.done, before=staged.done)
        elif staged.done > latest.done:
            self._pace.add(staged.done - latest.done, (staged.ns - latest.ns) / NS)
            self._latest = staged
        if not staged.total:
            return None, None
        return self._pace.share, self._left_s(staged.ns)

    def _left_s(self, now_ns: int) -> float | None:
        left_s, latest = self._pace.left_s, self._latest
        return None if left_s is None or latest is None else max(0.0, left_s - (now_ns - latest.ns) / NS)


def _kind(staged: Staged) -> tuple[object, ...]:
    return staged.stage, staged.step, staged.subject, staged.total
