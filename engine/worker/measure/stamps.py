"""What a measured run leaves: when it started, when the prompt was read, when each token was known."""

from dataclasses import dataclass

from engine.protocol import Decode


@dataclass(frozen=True, slots=True)
class Stamps:
    """Nanoseconds of the worker's monotonic clock."""

    started_ns: int
    prefilled_ns: int
    token_ns: tuple[int, ...]
    decode: Decode | None = None
