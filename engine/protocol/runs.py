"""Measured runs of a model in the worker and of a server's, and what they stamped."""

from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from engine.protocol.answers import Decode, ServedFigures
from engine.protocol.bounds import Count, Line, Notes
from engine.protocol.model import Memory
from engine.protocol.tagged import TaggedCommand, TaggedEvent

Generator = Literal["engine", "hf"]


class BenchRun(Struct, frozen=True, kw_only=True):
    """One measured run: read prompts of `context` tokens, write `steps` greedy ones, end tokens or not."""

    context: int
    batch: int = 1
    """Sequences at once, all of them equally long."""
    steps: int = 128
    depth: int = 0
    """Tokens in the cache before the clock starts."""
    generator: Generator = "engine"
    with_memory: bool = False
    """Take the memory's peak; speeds of such a run are not to be used."""


class Measure(TaggedCommand, frozen=True, tag="measure"):
    """Run once, with an empty cache and made-up prompts, and stamp what happens."""

    request: int
    run: BenchRun
    threads: int | None = None


class Measured(TaggedEvent, frozen=True, tag="measured"):
    """A run's stamps, and what it held and had to read. The worker's clock, in nanoseconds."""

    request: Count
    started_ns: Count
    prefilled_ns: Count
    """When the logits of the prompts' last tokens were ready."""
    token_ns: tuple[int, ...]
    """When each token's id was known on the host; in a batch that of all sequences."""
    cached_tokens: Count
    """Tokens in the cache at the end, of each sequence."""
    kv_cache_bytes: Count
    step_bytes: Count | None
    """Weights and cache that the average decode step must read; None where the prompt decides (experts)."""
    threads: Count
    """CPU threads, the fewest where others needed cores meanwhile."""
    decode_joules: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """What the device took from the first token to the end, by its own counter; None where it has none."""
    decode: Decode | None = None
    """How the steps were run; None where `generate` ran them."""
    memory: Memory | None = None
    memory_at_reset: Memory | None = None
    """What was in use when the peak was reset."""


class MeasureCopy(TaggedCommand, frozen=True, tag="measure copy"):
    """Copy a buffer on the model's device, several times."""

    request: int
    threads: int | None = None


class CopyMeasured(TaggedEvent, frozen=True, tag="copy measured"):
    """How fast the model's device copies: bytes read plus bytes written, a second."""

    request: Count
    buffer_bytes: Count
    bytes_s: tuple[float, ...]


class ServedRun(Struct, frozen=True, kw_only=True):
    """Requests to a server, greedy, each with a made-up prompt of its own."""

    context: int
    """Tokens of a prompt; where the server takes no ids, as near as its own count allows."""
    steps: int
    """Tokens of an answer, end tokens or not where the server knows how."""
    requests: int = 1
    at_once: int = 1
    """How many are under way: when one ends the next is asked."""
    seed: int = 0
    """Equal seeds are equal prompts where the tokenizers are; with other seeds all of them are others."""


class MeasureServed(TaggedCommand, frozen=True, tag="measure served"):
    """Ask a server so many times, and stamp what comes."""

    request: int
    run: ServedRun


class ServedAnswer(Struct, frozen=True, kw_only=True):
    """One answer of a served run, as it was stamped."""

    sent_ns: Count
    """Before its request was written; 0 for one that was not."""
    token_ns: tuple[Count, ...] = ()
    """A stamp a token; those of one read of the network are equal."""
    counted: bool = True
    """Otherwise they are stamps of pieces, of unknown numbers of tokens."""
    figures: ServedFigures | None = None
    failure: Line = ""
    """Why it is no whole answer."""
    connected: bool = False
    """A connection was made on its clock: the server had ended the one before."""


class ServedAdvanced(TaggedEvent, frozen=True, tag="served advanced"):
    """So many requests of a run have ended."""

    request: Count
    done: Count


class ServedAnswered(TaggedEvent, frozen=True, tag="served answered"):
    """One of a run's answers; they come when all have ended, so that nothing moves a stamp."""

    request: Count
    answer: ServedAnswer


class ServedMeasured(TaggedEvent, frozen=True, tag="served measured"):
    """A served run's end: how the client itself was, and whether it was alone."""

    request: Count
    cpu_share: Annotated[float, msgspec.Meta(ge=0)]
    """Of one core, the client's own: above it nothing can be stamped in time."""
    late_ms: Annotated[float, msgspec.Meta(ge=0)]
    """How late a thread of the client woke, at the 95th percentile: as late stamps may be."""
    contended: bool | None = None
    """The server answered others before or after; None where it does not say."""
    memory: Memory | None = None
    """Of a server within the worker."""
    notes: Notes = ()
