"""How a widget ends when it is taken off the screen: what it still does ends before its children go.

Otherwise a worker or a timer finds the children missing, and that ends the application. Knows nothing of what
is shown. Work is given as a function: a coroutine that is cancelled before it begins complains on stderr.
What takes children off or puts them on is awaited with `whole`: work that is cancelled while it awaits a
removal would cancel the children's own tasks, and whoever waits for those, up to the application.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from textual import on
from textual.messages import Prune
from textual.widget import Widget
from textual.worker import Worker

Work = Callable[[], Coroutine[None, None, None]]


async def whole(change: Awaitable[object]) -> None:
    """Await a change of the tree that is done to its end even when who awaits it is cancelled."""
    await asyncio.shield(change)


class Ending(Widget):
    """Whatever runs workers or paints later.

    As a base class it comes last: Textual takes the styles of the first.
    """

    _is_ending = False

    def work(self, doing: Work, group: str = "default", *, exclusive: bool = False) -> Worker[None]:
        """Do this in the background, as long as this widget is there; when it is about to go, not at all."""
        begun: Worker[None] = self.run_worker(doing, group=group, exclusive=exclusive)
        if self._is_ending:
            begun.cancel()
        return begun

    @on(Prune)
    def _end(self) -> None:
        self._is_ending = True
        self.workers.cancel_node(self)
        self.ending()

    def ending(self) -> None:
        """The children are about to go: drop what would paint them later."""
