"""The wire between the engine and a worker: commands one way, events the other, one JSON object a line.

Every event carries `ns`, the worker's CLOCK_MONOTONIC at the moment it happened: the only clock that counts.
Tensors never travel here. Requests are numbered by the client; events that belong to one carry its number.
"""

import time
from typing import Literal

import msgspec
from msgspec import Struct

from engine.profile import Generation, Profile
from engine.record import Record

Stage = Literal["resolve", "download", "read", "quantize", "move", "warm up"]
Unit = Literal["bytes", "layers", "tensors", ""]
FinishReason = Literal["stop", "length", "cancelled"]
FailureKind = Literal[
    "bad_input", "not_loaded", "out_of_memory", "generation", "cancelled", "worker_lost", "unresponsive"
]


class Message(Struct, frozen=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class _Command(Struct, frozen=True, kw_only=True, tag_field="command"):
    pass


class Load(_Command, frozen=True, tag="load"):
    """Load this profile's model. Once in a worker's life."""

    profile: Profile
    threads: int | None = None
    """CPU threads; None is every physical core."""


class Quantize(_Command, frozen=True, tag="quantize"):
    """Make this profile's quantized checkpoint, where the store has none yet, and load nothing."""

    profile: Profile
    out: str | None = None
    """A folder that gets a copy."""
    force: bool = False
    """Make it anew, and replace what lies in `out`."""
    threads: int | None = None


class Generate(_Command, frozen=True, tag="generate"):
    """Answer a conversation."""

    request: int
    messages: tuple[Message, ...]
    generation: Generation
    threads: int | None = None


class Render(_Command, frozen=True, tag="render"):
    """Show the prompt a conversation becomes, without answering."""

    request: int
    messages: tuple[Message, ...]


class Cancel(_Command, frozen=True, tag="cancel"):
    """Stop this request before its next token (during prefill: before its next chunk)."""

    request: int


Command = Load | Quantize | Generate | Render | Cancel


class Weights(Struct, frozen=True, kw_only=True):
    """Bytes of parameters and buffers as stored; a tensor used twice counts once, as embedding."""

    linear_bytes: int
    """Linear layers with their scales and zero points; the output head too, unless it is the embedding."""
    embedding_bytes: int
    other_bytes: int
    """Norms, rotary tables and the like."""

    @property
    def total_bytes(self) -> int:
        """All of them."""
        return self.linear_bytes + self.embedding_bytes + self.other_bytes


class Memory(Struct, frozen=True, kw_only=True):
    """What is in use now, in bytes. `peak_bytes` is the highest since the request began."""

    weights_bytes: int
    kv_cache_bytes: int
    peak_bytes: int
    """CUDA: the allocator's peak. CPU: the peak of the resident set."""
    process_bytes: int
    device_used_bytes: int
    device_total_bytes: int
    process_source: str
    """How `process_bytes` was read: `NVML`, `resident set`, or `allocator` where the driver hides it."""


class ModelInfo(Struct, frozen=True, kw_only=True):
    """What was loaded, as it really is."""

    label: str
    """The method's badge, such as `bf16` or `nf4`."""
    kernel: str
    """The class that does a quantized matrix product, such as `Linear4bit`."""
    architecture: str
    parameters: int
    """Logical parameters: a packed 4-bit weight counts as one; tied ones count once."""
    context_length: int
    dtype: str
    device: str
    device_name: str
    threads: int
    weights: Weights
    tokenizer_sha256: str
    """Of the vocabulary and merges: equal means that equal ids are equal text."""
    has_chat_template: bool
    notes: tuple[str, ...] = ()
    """What the user should know, such as weights that were dequantized on load."""
    versions: dict[str, str]


class _Event(Struct, frozen=True, kw_only=True, tag_field="event"):
    ns: int = msgspec.field(default_factory=time.monotonic_ns)


class Started(_Event, frozen=True, tag="started"):
    """The worker's first word."""

    pid: int


class Staged(_Event, frozen=True, tag="staged"):
    """Loading has come this far; `total` is 0 where it is not known."""

    stage: Stage
    done: int = 0
    total: int = 0
    unit: Unit = ""
    detail: str = ""


class Loaded(_Event, frozen=True, tag="loaded"):
    """The model is ready."""

    info: ModelInfo
    memory: Memory


class Quantized(_Event, frozen=True, tag="quantized"):
    """The checkpoint is in the store."""

    path: str
    """Its folder: the user's, where one was named."""
    record: Record
    was_there: bool
    """Whether it had been made before."""


class Rendered(_Event, frozen=True, tag="rendered"):
    """The prompt as text and token ids."""

    request: int
    text: str
    token_ids: tuple[int, ...]


class Prompted(_Event, frozen=True, tag="prompted"):
    """The worker has the request; `ns` is its receipt."""

    request: int
    tokens: int
    sha256: str
    """Of the prompt's token ids, as little-endian 32-bit integers."""


class Prefilled(_Event, frozen=True, tag="prefilled"):
    """So many of the prompt's tokens have been read; the first, with `done` 0, starts the prefill's clock."""

    request: int
    done: int
    total: int


class Decoded(_Event, frozen=True, tag="decoded"):
    """One sampled token, stamped when it was known, and the text it completes (maybe none yet)."""

    request: int
    token_id: int
    text: str


class Finished(_Event, frozen=True, tag="finished"):
    """The answer's end. `text` is what the detokenizer still held."""

    request: int
    reason: FinishReason
    memory: Memory
    text: str = ""


class Failed(_Event, frozen=True, tag="failed"):
    """A load or a request that ended badly; `request` is None for a load and for the whole worker."""

    kind: FailureKind
    message: str
    hint: str = ""
    request: int | None = None


Event = Started | Staged | Loaded | Quantized | Rendered | Prompted | Prefilled | Decoded | Finished | Failed

encode = msgspec.json.Encoder().encode
decode_command = msgspec.json.Decoder(Command).decode
decode_event = msgspec.json.Decoder(Event).decode
