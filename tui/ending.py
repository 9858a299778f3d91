"""How a widget ends when it is taken off the screen: what it still does ends before its children go.

Otherwise a worker or a timer finds the children missing, and that ends the application. Knows nothing of what
is shown. Work is given as a function: a coroutine that is cancelled before it begins complains on stderr.
"""

from collections.abc import Callable, Coroutine

from textual import on
from textual.messages import Prune
from textual.widget import Widget
from textual.worker import Worker

Work = Callable[[], Coroutine[None, None, None]]


class Ending(Widget):
    """Whatever runs workers or paints later.

    As a base class it comes last: Textual takes the styles of the first.
    """

    def work(self, doing: Work, group: str = "default", *, exclusive: bool = False) -> Worker[None]:
        """Do this in the background, as long as this widget is there."""
        begun: Worker[None] = self.run_worker(doing, group=group, exclusive=exclusive)
        return begun

    @on(Prune)
    def _end(self) -> None:
        self.workers.cancel_node(self)
        self.ending()

    def ending(self) -> None:
        """The children are about to go: drop what would paint them later."""
