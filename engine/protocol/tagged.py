"""What every command and every event has."""

import time

import msgspec
from msgspec import Struct

from engine.protocol.bounds import Count


class TaggedCommand(Struct, frozen=True, kw_only=True, tag_field="command"):
    """Told to a worker; its kind is in `command`."""


class TaggedEvent(Struct, frozen=True, kw_only=True, tag_field="event"):
    """Said by a worker; its kind is in `event`."""

    ns: Count = msgspec.field(default_factory=time.monotonic_ns)
