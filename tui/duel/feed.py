"""An answer on its way to the screen: what is new of it, at most 20 times a second."""

from collections.abc import Callable

from textual.message import Message

from engine.duel.duel import Duel
from engine.duel.thinking import Parts
from engine.protocol.answers import Finished
from engine.protocol.failure import Failed
from engine.protocol.wire import Event
from tui.duel.figures import figures_of
from tui.duel.messages import AnswerEnded, AnswerGrew
from tui.pacer import Pacer


class Feed:
    """One side's answer on its way to the screen."""

    def __init__(
        self, side: int, duel: Duel, post: Callable[[Message], object], before: Parts | None = None
    ) -> None:
        """`before` of an answer that is gone on with stands on the screen before it comes again."""
        self._side, self._duel, self._post = side, duel, post
        self._said = len(before.said) if before else 0  # characters that were passed on
        self._thoughts = len(before.thoughts) if before else 0
        self._pacer = Pacer()

    def take(self, event: Event) -> None:
        """Take one event; the last one is passed on at once, with everything that waited."""
        if isinstance(event, Finished | Failed):
            self._pacer.stop()
            answer = self._duel.answers[self._side]
            self._post(AnswerEnded(self._side, answer, figures_of(answer)))
        else:
            self._pacer.due(self._grow)

    def _grow(self) -> None:
        answer = self._duel.answers[self._side]
        found = answer.parts
        if len(found.said) < self._said:
            return  # what is shown has not come again yet
        text, thoughts = found.said[self._said :], found.thoughts
        is_new, self._said, self._thoughts = len(thoughts) > self._thoughts, len(found.said), len(thoughts)
        self._post(AnswerGrew(self._side, text, figures_of(answer), thoughts if is_new else ""))
