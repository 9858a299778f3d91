"""A model loaded or made: two commands, how far they have come, and what is there at their end."""

from typing import Literal

from engine.config.profile import Profile
from engine.config.record import Record
from engine.protocol.bounds import Count, Line
from engine.protocol.model import Memory, ModelInfo
from engine.protocol.tagged import TaggedCommand, TaggedEvent

Stage = Literal["resolve", "download", "read", "quantize", "move", "start", "warm up"]
Reading = Literal["hash source", "wait for demo", "convert demo", "parse GGUF", "unpack GGUF"]
Preparing = Literal["compile kernel", "compile decode step", "capture decode step"]
Quantizing = Literal[
    "load source",
    "measure source",
    "calibration text",
    "quantize layers",
    "quantize while reading",
    "write checkpoint",
    "load result",
    "measure result",
]
Starting = Literal["wait for greeting"]
Step = Starting | Reading | Preparing | Quantizing
Unit = Literal["bytes", "layers", "tensors", "windows", ""]


class Load(TaggedCommand, frozen=True, tag="load"):
    """Load this profile's model. Once in a worker's life."""

    profile: Profile
    threads: int | None = None
    """CPU threads; None is as many as were fastest at load, every physical core at most."""
    memory_limit_bytes: int | None = None
    """What the worker may take of the host's memory, libraries included; None is whatever there is."""
    native_step: bool = True
    """Repack the weights for the engine's own step; otherwise the model stays as transformers loads it."""
    checkpoint: str | None = None
    """For a server that is started: the folder that was made by the profile's method."""


class Quantize(TaggedCommand, frozen=True, tag="quantize"):
    """Make this profile's quantized checkpoint, where the store has none yet, and load nothing."""

    profile: Profile
    out: str | None = None
    """A folder that gets a copy."""
    force: bool = False
    """Make it again, and replace what is in `out`."""
    threads: int | None = None


class Started(TaggedEvent, frozen=True, tag="started"):
    """The worker's first event."""

    pid: Count


class Staged(TaggedEvent, frozen=True, tag="staged"):
    """Loading has come this far; `total` is 0 where it is not known. The engine puts it into words."""

    stage: Stage
    step: Step | None = None
    """Which part of the stage, where it has several."""
    subject: Line = ""
    """The name of what is read: a repository, a file, a text."""
    done: Count = 0
    total: Count = 0
    unit: Unit = ""
    peak_bytes: Count | None = None
    """The most memory that was held at once so far."""
    elsewhere: bool = False
    """Another process does it, and this one waits."""
    host: Line = ""
    """The machine's name; empty for the one that QuantDuel runs on."""


class Loaded(TaggedEvent, frozen=True, tag="loaded"):
    """The model is ready."""

    info: ModelInfo
    memory: Memory | None
    """None where the model is not in the worker."""


class Quantized(TaggedEvent, frozen=True, tag="quantized"):
    """The checkpoint is in the store."""

    path: Line
    """Its folder: the user's, where one was named."""
    record: Record
    cached: bool
    """Whether it was in the store already."""
