"""Given texts scored: their tokens, where logits lie, and what a model says of each position."""

from typing import Literal

from msgspec import Struct

from engine.config.profile import Profile
from engine.protocol.bounds import Count
from engine.protocol.tagged import TaggedCommand, TaggedEvent


class Tokenize(TaggedCommand, frozen=True, tag="tokenize"):
    """Tokenize a text for eval."""

    request: int
    text: str
    """A set's name or a file: see engine.evaluation.settings."""
    content: str | None = None
    """What is in that file, where the worker has it not."""
    tokens: int | None = None
    """How many from the start; None is all of them."""


class Tokenized(TaggedEvent, frozen=True, tag="tokenized"):
    """A text as token ids."""

    request: Count
    token_ids: tuple[int, ...]
    beginning: tuple[int, ...]
    """What the tokenizer puts before any text, such as BOS; not part of `token_ids`."""


class Place(Struct, frozen=True):
    """A stretch of a file that two workers open by this path: shared memory, or a file on disk."""

    path: str
    offset_bytes: int = 0
    kept: Count = 0
    """Where not 0, logits here are those of so many likeliest tokens a position: see `kept_row_bytes`."""


def kept_row_bytes(kept: int) -> int:
    """A position of which only the likeliest tokens are kept: ids, log-probabilities, one number more."""
    return 4 * (2 * kept + 1)


class Logits(Struct, frozen=True, kw_only=True):
    """Logits [positions, vocabulary] as the model gave them, at a place."""

    place: Place
    positions: int
    vocabulary: int
    dtype: Literal["bfloat16", "float16", "float32"]

    @property
    def size_bytes(self) -> int:
        """Of all of them."""
        row_bytes = self.vocabulary * (4 if self.dtype == "float32" else 2)
        return self.positions * (kept_row_bytes(self.place.kept) if self.place.kept else row_bytes)


class Passage(Struct, frozen=True, kw_only=True):
    """Tokens to be scored: those from `first` on, each given all that come before it."""

    token_ids: tuple[int, ...]
    first: int
    continues: bool = False
    """These tokens begin with those of the last passage, which need not be read again."""
    chunk: int | None = None
    """Tokens a forward pass; None reads all at once."""
    top: int = 0
    """How many of the likeliest tokens are reported at each position."""


class TakeReference(TaggedCommand, frozen=True, tag="take reference"):
    """Load the reference's model as well, for scores with one layer of the own model in it."""

    request: int
    profile: Profile


class ReferenceTaken(TaggedEvent, frozen=True, tag="reference taken"):
    """The reference's model is there as well."""

    request: Count
    layers: Count
    """Each of them has a counterpart in the own model."""


class Score(TaggedCommand, frozen=True, tag="score"):
    """Log-probabilities of given tokens."""

    request: int
    passage: Passage
    layer: int | None = None
    """By the reference's model with this one layer of the own; None is by the own model."""
    write: Place | None = None
    """Put the logits here."""
    reference: Logits | None = None
    """Compare with these, which another model gave for the same tokens."""
    threads: int | None = None


class Scored(TaggedEvent, frozen=True, tag="scored"):
    """What a model says of given tokens, a value a position. Logarithms are natural, taken in float32."""

    request: Count
    log_probs: tuple[float, ...]
    first_choices: tuple[int, ...]
    """The likeliest token at each position."""
    klds: tuple[float, ...] = ()
    """KL(reference ‖ this model) over the vocabulary, in nats, where a reference was given."""
    margins: tuple[float, ...] = ()
    """How much likelier, in nats, the reference's first choice is than its second one, by this model."""
    reference_margins: tuple[float, ...] = ()
    """The same by the reference."""
    reference_rounding: tuple[float, ...] = ()
    """One rounding step of the reference's largest logit at each position."""
    top_ids: tuple[tuple[int, ...], ...] = ()
    top_log_probs: tuple[tuple[float, ...], ...] = ()
    pieces: dict[int, str] = {}
    """The text of every token that is reported, where the likeliest were asked for."""
    rounding: tuple[float, ...] = ()
    """One rounding step of the likeliest token's logit at each position, where they were asked for."""
    left_out: tuple[float, ...] = ()
    """The reference's probability of the tokens that were not kept of it, as one; empty where all were."""
    logits: Logits | None = None
    """What was written."""
    read_tokens: Count = 0
    read_ns: Count = 0
    """Spent in forward passes."""
