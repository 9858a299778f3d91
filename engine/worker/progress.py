"""Loading progress as `Staged` events, at most twenty a second.

Owns the throttling, and the translation of the libraries' progress bars. Knows nothing of models.
"""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace
from tqdm.std import tqdm

from engine.protocol.loading import Stage, Staged, Step

Report = Callable[[Staged], None]

SHORTEST_GAP_S = 0.05


class Progress:
    """One stage that counts up to a total; the first and the last count are always reported."""

    def __init__(self, report: Report, staged: Staged) -> None:
        self._report, self._staged = report, staged
        self._total, self._done, self._reported_s = staged.total, -1, 0.0

    def reach(self, done: int, total: int | None = None) -> None:
        """`done` is done now; a `total` that becomes known later replaces the first one."""
        total = self._total if total is None else total
        now_s = time.monotonic()
        is_due = now_s - self._reported_s >= SHORTEST_GAP_S or done >= total or self._done < 0
        if not is_due or (done, total) == (self._done, self._total):
            return
        self._done, self._total, self._reported_s = done, total, now_s
        self._report(replace(self._staged, done=done, total=total, ns=time.monotonic_ns()))


class ReportedBar(tqdm):
    """A tqdm bar that draws nothing: whatever it would draw is handed to `show(done, total)`."""

    monitor_interval = 0  # no thread that redraws bars

    def __init__(self, *args: Any, show: Callable[[int, int], None], **options: Any) -> None:
        self._show = show
        quiet = {"disable": False, "file": io.StringIO(), "leave": True, "mininterval": SHORTEST_GAP_S}
        super().__init__(*args, **(options | quiet))

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Report instead of drawing."""
        self._show(int(self.n), int(self.total or 0))


def waiting(report: Report) -> Callable[[Staged | None], None]:
    """Reports the progress of the process that has a checkpoint's lock."""

    def tell(progress: Staged | None) -> None:
        found = progress or Staged(stage="quantize")
        report(replace(found, elsewhere=True, ns=time.monotonic_ns()))

    return tell


@contextmanager
def of_tensors(report: Report, stage: Stage, step: Step | None = None) -> Iterator[None]:
    """Transformers' own bar over the tensors it loads, as progress of `stage`."""
    from transformers.utils.logging import set_tqdm_hook

    def hook(factory: object, args: tuple[Any, ...], options: dict[str, Any]) -> ReportedBar:
        progress = Progress(report, Staged(stage=stage, step=step, unit="tensors"))
        return ReportedBar(*args, show=progress.reach, **options)

    report(Staged(stage=stage, step=step))
    previous = set_tqdm_hook(hook)
    try:
        yield
    finally:
        set_tqdm_hook(previous)
