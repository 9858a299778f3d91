"""The lens: what two models say of every token of both their answers, and why the answers diverge.

A is the reference; B stands for whichever side it is compared with. Probabilities are the models' own, at
temperature 1, whatever the sampling settings are. How the models are asked is `looking`'s.
"""

from typing import Literal

from msgspec import Struct

from engine.duel.sides import LETTERS
from engine.stats.margins import Margins

NAMED = 12  # positions in a line
VerdictKind = Literal["coin flip", "change of mind", "draw", "not judged"]
Reason = Literal["not answered", "not ready", "other tokenizer", "other vocabulary", "served", "failed"]


class Choice(Struct, frozen=True):
    """A token a model might have put here."""

    token_id: int
    text: str
    probability: float


class View(Struct, frozen=True, kw_only=True):
    """One model at one position."""

    log_prob: float
    """ln of the probability of the token that stands here; minus this is the model's surprise."""
    top: tuple[Choice, ...]
    """The five likeliest, the likeliest first."""
    margin: float
    """Between its first two choices, in nats: the difference of their log-probabilities."""


class Token(Struct, frozen=True, kw_only=True):
    """One token of an answer, as both models see it."""

    index: int
    """In the answer, from 0."""
    token_id: int
    text: str
    views: tuple[View, View]
    """A's, B's."""
    kld: float
    """KL(A ‖ B) over the whole vocabulary at this position, in nats; at least, where `Reading` says so."""

    @property
    def differs(self) -> bool:
        """Whether the models' most likely tokens differ."""
        a, b = self.views
        return a.top[0].token_id != b.top[0].token_id


class Reading(Struct, frozen=True, kw_only=True):
    """One side's answer through both models."""

    side: int
    """Whose answer: 0 is A's, 1 is B's; with more than two sides it may be 2 for C's, and so on."""
    tokens: tuple[Token, ...]
    mean_kld: float
    kld_stderr: float
    kld_is_bound: bool = False
    """KLDs are lower bounds: a server told its likeliest tokens, and all others count as one."""
    kld_tail: float | None = None
    """A's mean probability of all others, as one."""
    different_top: tuple[int, ...]
    """Indices at which the models' most likely tokens differ."""
    margins: Margins | None = None
    """What B keeps of A's margins; None where A is never decided, and in records of older versions."""

    @property
    def reader(self) -> int:
        """Which of a token's views is that of the model that did not write it."""
        return 0 if self.side else 1

    @property
    def text(self) -> str:
        """`top tokens differ at 2 of 42: 5, 17`; tokens are counted from 1, as everywhere in texts."""
        places = [str(index + 1) for index in self.different_top[:NAMED]]
        more = ["…"] if len(self.different_top) > NAMED else []
        where = f": {', '.join([*places, *more])}" if places else ""
        return f"top tokens differ at {len(self.different_top)} of {len(self.tokens)}{where}"


class Verdict(Struct, frozen=True, kw_only=True):
    """Why the answers diverge where they do."""

    kind: VerdictKind
    """`coin flip`: A's margin is below the noise. `change of mind`: it is above, and B prefers another token.
    `draw`: both clearly prefer the same token; sampling drew different ones. `not judged`: A is a server's,
    and how far rounding moves its margins is not known."""
    index: int
    """The first token that differs."""
    margin: float
    """A's, in nats."""
    noise: float | None
    """What A's margin moves by without any quantization, in nats: see docs/measuring.md. None: not known."""
    text: str
    """The verdict in words."""


class Lens(Struct, frozen=True, kw_only=True, tag_field="result", tag="lens"):
    """Everything of one turn."""

    readings: tuple[Reading, Reading]
    """A's answer and B's, each through both models."""
    verdict: Verdict | None
    """None where the answers are equal, or where the prompts differed."""
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> Reading:
        """Of the reference's own answer: mean KLD on this prompt, where top tokens differ."""
        return self.readings[0]

    @property
    def letters(self) -> tuple[str, str]:
        """The reference's, and that of the side it is compared with."""
        return LETTERS[0], LETTERS[self.readings[1].side]


class NoLens(Struct, frozen=True, kw_only=True, tag_field="result", tag="none"):
    """Why there is none."""

    reason: Reason
    message: str
    hint: str = ""
