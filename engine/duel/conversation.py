"""What was asked and answered, as a tree: an earlier prompt asked again begins a branch, and none is lost.

Owns who said what, and which of it a side reads before the next prompt. Knows no session and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.duel.answer import Answer
from engine.duel.sides import all_of
from engine.protocol.answers import Message

History = Literal["own", "shared", "fresh"]
"""What a side reads before a prompt: its own earlier answers, A's on every side, or nothing."""
HISTORIES: dict[History, str] = {
    "own": "each side reads its own earlier answers",
    "shared": "both sides read A's earlier answers",
    "fresh": "each prompt begins a new conversation",
}


def history_text(history: History, sides: int) -> str:
    """What so many sides read, in words."""
    return HISTORIES[history].replace("both", all_of(sides))


@dataclass(eq=False, slots=True)
class Exchange:
    """One prompt, and what each side said to it."""

    number: int
    """In the order in which they were begun, from 0."""
    prompt: str
    before: Exchange | None
    """What it goes on with; None where it begins a conversation."""
    answers: dict[int, Answer] = field(default_factory=dict)
    """By side; a side that was not asked has none."""
    said_in: dict[int, int] = field(default_factory=dict)
    """The number of the exchange in which each of them was said: another one where it was taken over."""

    def text(self, side: int) -> str:
        """What a side said, as far as the next prompt goes on with it."""
        answer = self.answers.get(side)
        return answer.text if answer is not None and answer.stands else ""


class Conversation:
    """The tree, and the exchange after which the next prompt comes."""

    def __init__(self, sides: int, histories: Sequence[Sequence[Message]] = ()) -> None:
        self.exchanges: list[Exchange] = []
        self.last: Exchange | None = None
        """The end of the branch that is shown; None where nothing was asked."""
        self._begun = [tuple(said) for said in histories] or [()] * sides

    def begin(self, prompt: str) -> Exchange:
        """A prompt after the last one."""
        self.last = Exchange(len(self.exchanges), prompt, self.last)
        self.exchanges.append(self.last)
        return self.last

    @property
    def path(self) -> list[Exchange]:
        """The branch that is shown, from its beginning."""
        return list(self._way(self.last))[::-1]

    @property
    def ends(self) -> list[Exchange]:
        """The last exchange of every branch, in the order of their beginning."""
        gone_on = {id(exchange.before) for exchange in self.exchanges}
        return [exchange for exchange in self.exchanges if id(exchange) not in gone_on]

    def messages(self, side: int, history: History) -> tuple[Message, ...]:
        """What a side reads before the next prompt."""
        if history == "fresh":
            return ()
        whose = 0 if history == "shared" else side
        said = list(self._begun[whose])
        for exchange in self.path:
            if text := exchange.text(whose):
                said += [Message("user", exchange.prompt), Message("assistant", text)]
        return tuple(said)

    def drop(self, side: int) -> None:
        """Another model is on this side: it has said nothing yet."""
        self._begun[side] = ()
        for exchange in self.exchanges:
            exchange.answers.pop(side, None)

    def add_side(self) -> None:
        """One more side, which has said nothing."""
        self._begun.append(())

    def remove_side(self) -> None:
        """The last side leaves with what it said."""
        side = len(self._begun) - 1
        self.drop(side)
        self._begun.pop()
        for exchange in self.exchanges:
            exchange.said_in.pop(side, None)

    def _way(self, exchange: Exchange | None) -> Iterator[Exchange]:
        while exchange is not None:
            yield exchange
            exchange = exchange.before
