"""What an engine's adapter is: how one kind of server is asked, and how its stream is read.

An adapter knows one engine's requests and events, and no sockets, stamps or wire.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.config.profile import Generation, Prompt
from engine.protocol.answers import FinishReason, Message, ServedFigures
from engine.protocol.model import Scoring
from engine.protocol.scores import Passage
from engine.worker.served.connection import Connection
from engine.worker.served.events import Framing


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A conversation as text and token ids, by the server's own tokenizer."""

    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One answer that is wanted."""

    messages: tuple[Message, ...]
    """With the system message."""
    prompt: Prompt
    generation: Generation
    rendered: Rendered | None
    """Where the server tells ids: then they are what is sent."""
    answered: tuple[int, ...] = ()
    cold: bool = False
    all_steps: bool = False
    """As many tokens as are asked for, where the server knows how (`Can.all_steps`)."""

    @property
    def token_ids(self) -> list[int]:
        """What the model is to read."""
        return [*(self.rendered.token_ids if self.rendered else ()), *self.answered]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one event of a stream says."""

    text: str = ""
    thought: str = ""
    """What a server's parser took out of the text as thoughts."""
    ids: tuple[int, ...] | None = None
    """Of the tokens that came; None where the server does not say."""
    total: int | None = None
    """Tokens of the answer so far, where it says."""
    finish: FinishReason | None = None
    stopped_by: str = ""
    """A stop string."""
    figures: ServedFigures | None = None
    prompt_ids: tuple[int, ...] | None = None
    """What the server read, where it says."""
    notes: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a server says of a model."""

    label: str
    model: str
    version: str = ""
    parameters: int = 0
    context_length: int = 0
    vocabulary: int = 0
    weights_bytes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Can:
    """What an engine can be asked for: see `engine.protocol.model.ServedModel`."""

    ids: bool = False
    server_times: bool = False
    cold: bool = False
    load_figure: bool = False
    all_steps: bool = False
    resume: bool = False
    """A stream whose connection dropped can be gone on with."""
    echoes_sampling: bool = False
    """It says with which settings it sampled."""
    scores: Scoring = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What a server says of one token of a given text, before anybody checked it.

    Natural logarithms of probabilities at temperature 1, normalized over the whole vocabulary.
    """

    token_id: int
    """Whose `log_prob` it is."""
    log_prob: float
    likeliest: dict[int, float]
    """By their ids; the token itself may be among them, or not."""
    pieces: dict[int, str]
    """The text of tokens, where it says."""


Ask = Callable[[str, dict[str, Any]], bytes]
"""Posts a body to a path: what comes back, within bounds, unless the user wants no more."""


@dataclass(slots=True)
class Model:
    """The one that is asked."""

    name: str
    facts: Facts = field(default_factory=lambda: Facts(label="", model=""))


class Adapter(Protocol):
    """One engine."""

    name: str
    can: Can
    framing: Framing
    ping: str
    """A path that answers quickly."""

    def models(self, connection: Connection) -> list[str]:
        """The names of the models that it serves; empty where it does not say."""

    def facts(self, connection: Connection, model: str) -> Facts:
        """What it says of one of them."""

    def rendered(
        self, connection: Connection, model: str, messages: tuple[Message, ...], prompt: Prompt
    ) -> Rendered | None:
        """The conversation as the model reads it; None where the server does not say."""

    def request(self, model: str, asked: Asked) -> tuple[str, dict[str, Any]]:
        """Path and body of a streamed answer, every sampling setting in it that the server takes."""

    def unsent(self, generation: Generation, prompt: Prompt) -> list[str]:
        """Settings that differ from their defaults and that the server has no name for."""

    def piece(self, data: str) -> Piece | None:
        """What an event says, None for nothing; msgspec.MsgspecError where it is not one of this engine's."""

    def others(self, connection: Connection) -> int | None:
        """How many answers are under way; None where it does not say."""

    def text_of(self, connection: Connection, model: str, token_ids: tuple[int, ...]) -> str:
        """What these tokens say, by the server."""

    def most_likely(self, connection: Connection, model: str, facts: Facts) -> int:
        """How many of the likeliest tokens it tells at each position of a given text; 0: it scores none."""

    def tokenized(self, connection: Connection, model: str, text: str, *, begins: bool) -> tuple[int, ...]:
        """A text as ids, led by what begins every text (BOS) or not; only of engines that score."""

    def scored(self, ask: Ask, model: str, passage: Passage, top: int) -> list[Position]:
        """The passage's tokens from `first` on, with the `top` likeliest; only of engines that score."""


def still_busy(engine: Adapter, connect: Callable[[], Connection]) -> bool:
    """Whether it answers others; the slots of answers that have just ended may take a moment to be free."""
    with closing(connect()) as connection:
        for _ in range(3):
            if not engine.others(connection):
                return False
            time.sleep(0.05)
    return True
