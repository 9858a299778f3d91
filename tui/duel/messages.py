"""What happened to the duel, as the messages that the bridge posts to the duel's screen.

All are facts, about one side (0 is A) or about the turn. They carry data, never widgets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:  # the first picture does not wait for the engine
    from engine.config.profile import Profile
    from engine.duel.answer import Answer
    from engine.duel.comparison import Comparison
    from engine.duel.thinking import Parts
    from engine.errors import HistoryError
    from engine.protocol.failure import Failed
    from engine.protocol.loading import Loaded, Staged
    from tui.duel.figures import Figures


@dataclass
class SideMessage(Message):
    """Something happened to one side."""

    side: int


@dataclass
class LoadBegan(SideMessage):
    """A worker for this profile starts."""

    profile: Profile
    within_turn: bool = False
    """Whether a prompt waits for it: one model is loaded at a time."""
    goes_on: bool = False
    """Whether what is on the screen goes on with this model."""


@dataclass
class LoadAdvanced(SideMessage):
    """Loading has come this far."""

    staged: Staged


@dataclass
class LoadEnded(SideMessage):
    """The model is ready, or it is not."""

    result: Loaded | Failed
    within_turn: bool = False


@dataclass
class SidePutBy(SideMessage):
    """The side's model is not loaded until it is its turn; `why` is a line for the user."""

    why: str


@dataclass
class SideAsked(SideMessage):
    """The side has the prompt; `first` says whether it may begin at once."""

    prompt: str
    first: bool
    number: int = 0
    """Of the exchange, by which its part of the transcript is known."""
    before: Parts | None = None
    """Of an answer that is gone on with: what stands there from the beginning."""


@dataclass
class PathShown(SideMessage):
    """Another branch of the conversation: these exchanges are shown, by their numbers."""

    numbers: frozenset[int]
    figures: Figures | None = None
    """Of the last answer on it; None leaves those that are shown."""


@dataclass
class AnswerGrew(SideMessage):
    """New text since the last such message, and the figures so far. At most 20 a second."""

    text: str
    figures: Figures
    thoughts: str = ""
    """All of the thoughts so far, where they are new."""


@dataclass
class SideStopping(SideMessage):
    """The answer was cancelled, and ends with what is being computed."""


@dataclass
class AnswerEnded(SideMessage):
    """The whole answer with its final figures."""

    answer: Answer
    figures: Figures


@dataclass
class SideLost(SideMessage):
    """The worker ended while it had nothing to do."""

    failure: Failed


@dataclass
class NotKept(Message):
    """The file of kept duels cannot be used; reported once."""

    error: HistoryError


@dataclass
class TurnEnded(Message):
    """Every side has answered; `comparisons` are of those that did, each with A."""

    comparisons: tuple[Comparison, ...]

    @property
    def comparison(self) -> Comparison | None:
        """The first of them."""
        return self.comparisons[0] if self.comparisons else None
