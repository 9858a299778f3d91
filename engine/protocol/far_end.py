"""What is said on a line to another machine, besides what a worker is told and says."""

from typing import Annotated

import msgspec
from msgspec import Struct

from engine.config.profile import Profile
from engine.protocol.bounds import Count, Line
from engine.protocol.tagged import TaggedCommand, TaggedEvent

PIECE_BYTES = 1 << 20  # the most that follows one line
PieceBytes = Annotated[int, msgspec.Meta(ge=1, le=PIECE_BYTES)]
LogitBytes = Annotated[int, msgspec.Meta(ge=1, le=1 << 30)]


class Greeting(Struct, frozen=True):
    """What every version's first line has."""

    event: Line = ""
    """`hello`."""
    wire: int = 0
    host: Line = ""
    version: Line = ""


class Hello(TaggedEvent, frozen=True, tag="hello"):
    """The far end's first line: who speaks, on which machine."""

    wire: int
    version: Line
    """QuantDuel's."""
    host: Annotated[str, msgspec.Meta(max_length=255)]
    machine: Annotated[str, msgspec.Meta(max_length=255)]
    """Equal means the same running kernel, whatever its hosts are called."""
    patience_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)]
    """So long a silence ends it."""


class Ping(TaggedCommand, frozen=True, tag="ping"):
    """To the far end, every moment: its `Beat` echoes the time, which is the sender's own."""

    ns: int


class Beat(TaggedEvent, frozen=True, tag="beat"):
    """The far end lives; `echo_ns` is what a Ping said."""

    echo_ns: Count | None = None


class Rest(TaggedCommand, frozen=True, tag="rest"):
    """Nothing will be said until something is said again: QuantDuel is stopped, and its line is not cut."""


class Foresee(TaggedCommand, frozen=True, tag="foresee"):
    """Plan this profile on the far end's machine; nothing is loaded."""

    profile: Profile
    context: int | None = None
    batch: int = 1
    limit_bytes: int | None = None


class Diagnose(TaggedCommand, frozen=True, tag="diagnose"):
    """What the far end's machine can run, and what is missing there."""


Question = Foresee | Diagnose


class Answered(TaggedEvent, frozen=True, tag="answered"):
    """What the far end says to a question: a plan, or a diagnosis."""

    content: msgspec.Raw


class Piece(TaggedCommand, frozen=True, tag="piece"):
    """So many bytes follow this line: the next ones of the reference's logits, for the next Score."""

    size_bytes: PieceBytes
    of_bytes: LogitBytes
    """All of them together."""


class Sent(TaggedEvent, frozen=True, tag="sent"):
    """So many bytes follow this line: the next ones of the logits that the running Score writes."""

    size_bytes: PieceBytes
    of_bytes: LogitBytes
    """All of them together."""
