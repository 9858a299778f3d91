"""What ends a request, or a worker, before its answer."""

from typing import Literal

from msgspec import Struct

from engine.protocol.bounds import Count, Line
from engine.protocol.tagged import TaggedCommand, TaggedEvent

GPU_FAULT_EXIT_CODE = 71  # of a worker whose GPU no longer answers
FailureKind = Literal[
    "bad_input", "not_loaded", "out_of_memory", "generation", "cancelled", "worker_lost", "unresponsive"
]


class Cancel(TaggedCommand, frozen=True, tag="cancel"):
    """Stop this request before its next token (during prefill: before its next chunk)."""

    request: int


class Failure(Struct, frozen=True):
    """Why something ended badly, as records keep it."""

    kind: FailureKind
    message: str
    hint: str = ""


class Failed(TaggedEvent, frozen=True, tag="failed"):
    """A load or a request that ended badly; `request` is None for a load and for the whole worker."""

    kind: FailureKind
    message: Line
    hint: Line = ""
    request: Count | None = None

    @property
    def failure(self) -> Failure:
        """What a record keeps of it."""
        return Failure(self.kind, self.message, self.hint)
