"""What a field of the wire may hold: what is outside of it is no event."""

from typing import Annotated

import msgspec

LONGEST_TEXT = 1 << 14  # characters of what is no model's output
MOST_NOTES = 100
Count = Annotated[int, msgspec.Meta(ge=0)]
Line = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)]
Notes = Annotated[tuple[Line, ...], msgspec.Meta(max_length=MOST_NOTES)]
