"""A conversation answered: what is asked, and every event from the prompt to the answer's end."""

from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from engine.config.profile import Generation, Prompt
from engine.protocol.bounds import Count, Line, Notes
from engine.protocol.model import Memory, ThinkMarks
from engine.protocol.tagged import TaggedCommand, TaggedEvent

BUSY_CORES = "other processes kept cores busy"
"""What an answer's note begins with whose speeds others took cores from; recordings have it."""
Role = Literal["system", "user", "assistant"]
Decode = Literal["graph", "eager"]
FinishReason = Literal["stop", "length", "cancelled"]


class Message(Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


class Generate(TaggedCommand, frozen=True, tag="generate"):
    """Answer a conversation."""

    request: int
    messages: tuple[Message, ...]
    generation: Generation
    prompt: Prompt | None = None
    """How the conversation becomes text; None is as the profile says."""
    answered: tuple[int, ...] = ()
    """Token ids of an answer that was cut: go on after them."""
    threads: int | None = None
    cold: bool = False
    """Read the whole prompt, even where the cache still holds its beginning."""


class Render(TaggedCommand, frozen=True, tag="render"):
    """Show the prompt a conversation becomes, without answering."""

    request: int
    messages: tuple[Message, ...]
    prompt: Prompt | None = None
    """How it becomes text; None is as the profile says."""
    continuations: tuple[str, ...] = ()
    """Texts that may come next, to be tokenized after the prompt: where they are, white space at the prompt's
    end belongs to them."""


class Rendered(TaggedEvent, frozen=True, tag="rendered"):
    """The prompt as text and token ids."""

    request: Count
    text: str
    token_ids: tuple[int, ...]
    continuation_ids: tuple[tuple[int, ...], ...] = ()
    """Of each continuation that was asked for."""


class Prompted(TaggedEvent, frozen=True, tag="prompted"):
    """The worker has the request; `ns` is its receipt, later by what was prepared once (`notes`)."""

    request: Count
    tokens: Count
    """0 where only a server knows, which says it at the end."""
    sha256: Line
    """Of the prompt's token ids, as little-endian 32-bit integers; empty where they are not known."""
    reused_tokens: Count = 0
    """How many of them the cache still held; only the others are read."""
    notes: Notes = ()
    """What happened to the conversation on its way, such as a system message that the template leaves out."""
    think: ThinkMarks | None = None
    """How the model marks thoughts; None for one that does not think."""


class Resumed(TaggedEvent, frozen=True, tag="resumed"):
    """An answer that was cut is resumed: what it had said before, token by token."""

    request: Count
    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    """The text of each token."""


class Prefilled(TaggedEvent, frozen=True, tag="prefilled"):
    """`done` of the prompt's tokens have been read; the first, with `done` 0, starts the prefill's clock."""

    request: Count
    done: Count
    total: Count


class Decoded(TaggedEvent, frozen=True, tag="decoded"):
    """One sampled token, stamped when it was known, and the text it completes (maybe none yet).

    A server's tokens that came in one read of the network have one stamp.
    """

    request: Count
    token_id: Count | None
    """None where a server does not say."""
    text: str
    tokens: Count | None = 1
    """Without an id: how many tokens this stands for; None where a server does not say that either."""


class ServedFigures(Struct, frozen=True, kw_only=True):
    """What a server says of an answer at its end; None is what it does not say."""

    tokens: Count | None = None
    """Of the answer, with the one that ended it."""
    prompt_tokens: Count | None = None
    reused_tokens: Count | None = None
    prefill_tok_s: float | None = None
    decode_tok_s: float | None = None
    contended: bool | None = None
    """It answered others meanwhile."""
    interrupted: bool = False
    """The connection dropped and the stream was gone on with: its stamps hold the gap."""


class Finished(TaggedEvent, frozen=True, tag="finished"):
    """The answer's end. `text` is what the detokenizer still held."""

    request: Count
    reason: FinishReason
    memory: Memory | None
    text: str = ""
    step_bytes: Count | None = None
    """Weights and cache that the answer's average decode step had to read; None where the tokens decide."""
    decode_joules: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """What the device took from the first token to the end, by its own counter; None where it has none."""
    round_trip_ns: Count | None = None
    """To the far end and back; None where there is none. Part of no other figure."""
    decode: Decode = "eager"
    """How the steps were run: a replayed CUDA graph, compiled, or kernel after kernel."""
    notes: Notes = ()
    """What slowed the answer, such as a step that no graph could capture; a stop string that ended it."""
    served: ServedFigures | None = None
