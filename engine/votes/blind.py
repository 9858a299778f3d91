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
from engine.protocol import Event, Message
from engine.session.client import Session
from engine.votes.votes import BlindAnswer, BlindTurn, Shuffle, Verdict, names_of


class Blind:
    """A duel of two, asked blind."""

    def __init__(self, duel: Duel, seed: int | None = None) -> None:
        self.left = 0
        """Which side is at the left in this turn: 0 is A, 1 is B."""
        self.answers: dict[int, Answer] = {}
        self.comparison: Comparison | None = None
        """B against A, once both have answered."""
        self._duel = duel
        self._shuffle = Shuffle(seed)
        self._prompt = ""

    @property
    def ready(self) -> bool:
        """Whether both sides can answer."""
        return all(self._can_answer(side) for side in range(len(self._duel.sessions)))

    @property
    def generation(self) -> Generation:
        """The sampling settings of both sides: A's."""
        return self._duel.generation

    async def ask(self, prompt: str, history: Sequence[Message] = ()) -> AsyncGenerator[tuple[int, Event]]:
        """Throw the coin, then put a prompt to both sides; yields (side, event)."""
        self.left, self._prompt, self.answers, self.comparison = self._shuffle.left(), prompt, {}, None
        with self._duel.aside(history):
            async with aclosing(self._duel.ask(prompt, self.generation)) as events:
                async for item in events:
                    self.answers = self._duel.answers
                    yield item
            self.comparison = compare(self._duel)

    @property
    def lost(self) -> str:
        """Why there can be no vote: which side failed, or cannot answer; nothing where all is well."""
        for side, session in enumerate(self._duel.sessions):
            failed = self.answers[side].failure if side in self.answers else None
            if failed and failed.kind != "cancelled":
                return f"{session.profile.name}: {failed.message}"
            if not self._can_answer(side):
                return f"{session.profile.name} is not loaded"
        return ""

    def cancel(self) -> None:
        """Stop both sides."""
        self._duel.cancel()

    def _can_answer(self, side: int) -> bool:
        """Whether a model is there, or will be loaded when it is this side's turn."""
        swaps = self._duel.schedule == "swap" and side not in self._duel.refused
        return swaps or self._duel.sessions[side].ready

    def turn(self, verdict: Verdict | None = None) -> BlindTurn:
        """The turn as it is now."""
        a, b = (_answer(session, self.answers.get(side)) for side, session in enumerate(self._duel.sessions))
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
