"""Blind turns over a duel: a conversation of its own each, shuffled sides, and the record that is voted on.

Knows sessions and answers, and neither the history nor a screen. That nothing gives a side away before the
vote is the work of whoever shows the turn: `left` is for them, names and figures are for afterwards.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from msgspec.structs import replace

from engine.config.profile import Generation
from engine.duel.answer import Answer
from engine.duel.comparison import Comparison, compare
from engine.duel.duel import Duel
from engine.protocol.answers import Message
from engine.protocol.wire import Event
from engine.session.client import Session
from engine.votes.votes import BlindAnswer, BlindTurn, Shuffle, Verdict, names_of


class Blind:
    """Two sides of a duel, asked blind; of more than two a random pair each time."""

    def __init__(self, duel: Duel, seed: int | None = None) -> None:
        self.pair = (0, 1)
        """Which sides are asked in this turn: 0 is A."""
        self.left = 0
        """Which of the pair is at the left."""
        self.answers: dict[int, Answer] = {}
        self.comparison: Comparison | None = None
        """The second of the pair against the first, once both have answered."""
        self._duel = duel
        self._shuffle = Shuffle(seed)
        self._prompt = ""

    @property
    def ready(self) -> bool:
        """Whether two sides can answer."""
        return len(self._able) >= 2

    @property
    def _able(self) -> list[int]:
        return [side for side in range(len(self._duel.sessions)) if self._can_answer(side)]

    @property
    def generation(self) -> Generation:
        """The sampling settings of all sides: A's."""
        return self._duel.generation

    async def ask(self, prompt: str, history: Sequence[Message] = ()) -> AsyncGenerator[tuple[int, Event]]:
        """Throw the coins, then put a prompt to two sides; yields (side, event)."""
        self.pair = self._shuffle.pair(self._able)
        self.left, self._prompt, self.answers, self.comparison = self._shuffle.left(), prompt, {}, None
        with self._duel.aside(history):
            async with aclosing(self._duel.ask(prompt, self.generation, self.pair)) as events:
                async for item in events:
                    self.answers = self._duel.answers
                    yield item
            self.comparison = compare(self._duel, self.pair[1], self.pair[0])

    @property
    def lost(self) -> str:
        """Why there can be no vote: which side failed, or cannot answer; nothing where all is well."""
        for side in self.pair if self.ready else range(len(self._duel.sessions)):
            session = self._duel.sessions[side]
            failed = self.answers[side].failure if side in self.answers else None
            if failed and failed.kind != "cancelled":
                return f"{session.profile.name}: {failed.message}"
            if not self._can_answer(side):
                return f"{session.profile.name} is not loaded"
        return ""

    def cancel(self) -> None:
        """Stop the sides that answer."""
        self._duel.cancel()

    def _can_answer(self, side: int) -> bool:
        """Whether a model is there, or will be loaded when it is this side's turn."""
        swaps = self._duel.schedule == "swap" and side not in self._duel.refused
        return swaps or self._duel.sessions[side].ready

    def turn(self, verdict: Verdict | None = None) -> BlindTurn:
        """The turn as it is now."""
        a, b = (_answer(self._duel.sessions[side], self.answers.get(side)) for side in self.pair)
        return BlindTurn(
            prompt=self._prompt,
            generation=self.generation,
            left=self.left,
            answers=(a, b),
            verdict=verdict,
        )


def _answer(session: Session, answer: Answer | None) -> BlindAnswer:
    info = answer.info if answer and answer.info else session.info
    profile, label = session.profile, info.label if info else session.profile.label
    empty = BlindAnswer(profile=profile.name, label=label, names=names_of(profile, label))
    if answer is None:
        return replace(empty, failure="it was not asked")
    failed = answer.failure
    cancelled = failed is not None and failed.kind == "cancelled"
    return replace(
        empty,
        text=answer.text,
        finish_reason="cancelled" if cancelled else answer.finish_reason,
        failure=failed.message if failed and not cancelled else None,
        metrics=answer.metrics,
    )
