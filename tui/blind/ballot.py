"""One blind turn from the prompt to the vote: what may be shown, what was voted, and keeping it.

Knows the engine's blind turn and where it is kept; knows no widget.
"""

import asyncio

from msgspec.structs import replace

from engine.duel.thinking import Parts
from engine.protocol.wire import Event
from engine.results import Results
from engine.votes.blind import Blind
from engine.votes.votes import BlindAnswer, BlindTurn, Choice, Exclusion, exclusion_of, verdict_of
from tui.blind.lockstep import Lockstep


class Ballot:
    """A turn to vote on."""

    def __init__(self, blind: Blind, results: Results, pace: float = 1.0) -> None:
        self.lockstep = Lockstep(pace)
        self.choice: Choice | None = None
        self.ended = False
        """Whether both sides have said all they will say."""
        self.stopped = False
        """Whether the user stopped both."""
        self._blind = blind
        self._results = results
        self._kept: int | None = None
        self._keeping = asyncio.Lock()

    @property
    def sides(self) -> tuple[int, int]:
        """Who is at the left and who at the right."""
        left = self._blind.left
        return self._blind.pair[left], self._blind.pair[1 - left]

    @property
    def texts(self) -> tuple[str, str]:
        """What may be seen at the left and at the right."""
        texts, left = self.lockstep.texts, self._blind.left
        return texts[left], texts[1 - left]

    @property
    def parts(self) -> tuple[Parts, Parts]:
        """The same, thoughts apart from what is said."""
        parts, left = self.lockstep.parts, self._blind.left
        return parts[left], parts[1 - left]

    @property
    def is_open(self) -> bool:
        """Whether a vote may be cast: something is to be seen, and nothing was chosen."""
        return self.choice is None and self.lockstep.length > 0

    @property
    def is_complete(self) -> bool:
        """Whether nothing more will be seen."""
        return self.ended and (self.stopped or self.lockstep.complete)

    @property
    def is_void(self) -> bool:
        """Whether there is nothing to vote on, and never will be."""
        return self.ended and self.stopped and self.lockstep.length == 0

    @property
    def is_settled(self) -> bool:
        """Whether the next turn may begin."""
        return self.is_void or (self.ended and self.choice is not None)

    @property
    def exclusion(self) -> Exclusion | None:
        """Why the turn does not count."""
        return exclusion_of(self.turn())

    def add(self, side: int, event: Event) -> None:
        """Take what a side said."""
        self.lockstep.add(self._blind.pair.index(side), event)

    def advance(self, elapsed_s: float) -> None:
        """Let more be seen, after this time."""
        if not self.stopped:
            self.lockstep.advance(elapsed_s)

    def stop(self) -> None:
        """Both sides are stopped; what is seen now is what is voted on."""
        self.stopped = True

    def choose(self, choice: Choice) -> None:
        """Vote; from now on everything may be seen."""
        self.choice = choice
        if not self.stopped:
            self.lockstep.open()

    def turn(self) -> BlindTurn:
        """The turn as it is now."""
        verdict = verdict_of(self.choice, self._blind.left) if self.choice else None
        turn = self._blind.turn(verdict)
        if not self.stopped:
            return turn
        a, b = (self._cut(answer) for answer in turn.answers)
        return replace(turn, answers=(a, b))

    async def keep(self) -> None:
        """Keep the turn as it is now; HistoryError where that cannot be done."""
        turn = self.turn()
        async with self._keeping:
            self._kept = await asyncio.to_thread(self._results.keep_turn, turn, self._kept)

    def _cut(self, answer: BlindAnswer) -> BlindAnswer:
        """The answer as it was seen when both were stopped."""
        text = answer.text[: int(min(self.lockstep.length, len(answer.text)))]
        whole = text == answer.text and answer.finish_reason is not None
        return replace(answer, text=text, finish_reason=answer.finish_reason if whole else "cancelled")
