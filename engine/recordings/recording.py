"""A duel as data: its profiles, its prompts, and every event of every answer with the worker's stamps.

Owns the format of a recording and the one boundary at which a stranger's file becomes one: sizes, counts and
whatever would not be a duel are refused there. Knows no database and no screen.
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from engine import input_files
from engine.config.profile import Generation, Profile, Prompt
from engine.duel.conversation import History
from engine.duel.lens import Lens, Reading
from engine.duel.sides import MOST_SIDES
from engine.errors import FileError
from engine.protocol.answers import Decoded, Finished, Message
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded
from engine.protocol.wire import Event
from engine.session.schedule import Schedule

Format = Literal["quantduel recording"]
FORMAT: Format = "quantduel recording"
VERSION = 1
MOST_BYTES = 64 << 20
WRITES_ONE = "`quantduel history export ID duel.json` writes one"
SHIPPED = Path(__file__).with_name("demo.json")
MOST_TURNS = 10_000
LONGEST_TITLE = 200
INTERRUPTED = Failed(
    kind="cancelled", message="QuantDuel ended before this answer did", hint="what it had said is kept"
)
NOT_RECORDED = Failed(kind="cancelled", message="no answer was recorded")
TORN = Failed(kind="cancelled", message="the rest of this turn is missing from the history")

MOST_UNKNOWN_KEYS = 20
UNKNOWN = re.compile(r"Object contains unknown field `(.+?)`(?: - at `\$(.*)`)?")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")

Found = TypeVar("Found")
SideNumber = Annotated[int, Meta(ge=0, lt=MOST_SIDES)]
TurnNumber = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(max_length=LONGEST_TITLE)]
Profiles = Annotated[tuple[Profile, ...], Meta(min_length=2, max_length=MOST_SIDES)]
"""A's, B's, and so on."""
SideEvent = tuple[SideNumber, Event]
"""A side, and what its worker said."""


class RecordedTurn(Struct, frozen=True, kw_only=True):
    """One prompt and what came of it."""

    prompt: str
    created: Text = ""
    """ISO 8601, UTC."""
    generation: Generation = Generation()
    prompts: tuple[Prompt, ...] = ()
    """How each side's conversation became text, where that was not its profile's own."""
    history: History = "own"
    """What each side read before the prompt."""
    schedule: Schedule = "sequential"
    events: tuple[SideEvent, ...] = ()
    """As they came. A side's first is `Loaded`, which says what answers."""
    lens: Lens | None = None
    """Both models' view of every token, where it was computed."""
    after: TurnNumber | None = None
    """The turn whose conversation this goes on with, from 0; None where it begins one."""

    taken: Annotated[tuple[TurnNumber | None, ...], Meta(max_length=MOST_SIDES)] = (None, None)
    """By side: the turn whose answer stands here, where the side was not asked again; from 0.

    A side after the last of them was asked, as one with null was.
    """

    def source(self, side: int) -> int | None:
        """The turn whose answer a side has here; None where it is this one's own."""
        return self.taken[side] if side < len(self.taken) else None

    def of_side(self, side: int) -> tuple[Event, ...]:
        """What one side's worker said; an answer that was begun has an end, and so has a turn without any."""
        if not self.events and not any(source is not None for source in self.taken):
            return (NOT_RECORDED,)
        events = tuple(event for whose, event in self.events if whose == side)
        began = any(not isinstance(event, Loaded) for event in events)
        ended = any(isinstance(event, Finished | Failed) for event in events)
        return (*events, replace(INTERRUPTED, ns=events[-1].ns)) if began and not ended else events


class Recording(Struct, frozen=True, kw_only=True):
    """One conversation of several sides."""

    profiles: Profiles
    turns: Annotated[tuple[RecordedTurn, ...], Meta(max_length=MOST_TURNS)]
    title: Text = ""
    created: Text = ""
    """ISO 8601, UTC."""
    histories: tuple[tuple[Message, ...], ...] = ((), ())
    """What had been said before the first turn, on each side."""


class RecordingFile(Recording, frozen=True, kw_only=True):
    """A recording as a file has it."""

    format: Format
    version: int


def read(file: Path) -> Recording:
    """The recording in a file; FileError for anything else, before any of it is shown."""
    return decoded(input_files.read(file, MOST_BYTES), file)


def shipped() -> Recording:
    """The one that comes with QuantDuel."""
    return read(SHIPPED)


def decoded(content: bytes, name: Path | str) -> Recording:
    """The recording in these bytes; FileError with `name` where they are none."""
    if _version(content, name) != VERSION:
        raise FileError(name, "was written by a newer QuantDuel")
    try:
        found = tolerant(msgspec.json.decode(content), RecordingFile)
        if len(found.histories) != len(found.profiles):
            raise ValueError("there is not one history for each profile")
        for index, turn in enumerate(found.turns):
            _check(index, turn, len(found.profiles))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FileError(name, f"is not a recording: {error}") from None
    return found


def tolerant(data: Any, kind: type[Found]) -> Found:
    """Plain data as this type, without keys that only another version of QuantDuel knows; ValidationError."""
    for _ in range(MOST_UNKNOWN_KEYS):
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            if not (unknown := UNKNOWN.fullmatch(str(error))):
                raise
            place = data
            for key, index in STEP.findall(unknown[2] or ""):
                place = place[int(index)] if index else place[key]
            del place[unknown[1]]
    return msgspec.convert(data, kind)


def _version(content: bytes, name: Path | str) -> int:
    class Head(Struct):
        format: str = ""
        version: int = 0

    try:
        head = msgspec.json.decode(content, type=Head)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FileError(name, f"is not a recording ({error}): {WRITES_ONE}") from None
    if head.format != FORMAT:
        raise FileError(name, f"is not a recording: {WRITES_ONE}")
    return head.version if head.version > VERSION else VERSION


def _check(index: int, turn: RecordedTurn, sides: int) -> None:
    """ValueError where this could not have happened."""
    if turn.after is not None and turn.after >= index:
        raise ValueError("a turn continues one that came later")
    if any(earlier is not None and earlier >= index for earlier in turn.taken):
        raise ValueError("a turn takes an answer of one that came later")
    if any(side >= sides for side, _ in turn.events):
        raise ValueError("a side says something that has no profile")
    for side in range(sides):
        stamps = [event.ns for event in turn.of_side(side) if isinstance(event, Decoded)]
        if any(later < earlier for earlier, later in pairwise(stamps)):
            raise ValueError("the stamps of an answer go back in time")
    for reading in turn.lens.readings if turn.lens else ():
        _check_reading(reading, sides)
    verdict = turn.lens.verdict if turn.lens else None
    if turn.lens and verdict and not 0 <= verdict.index < min(len(r.tokens) for r in turn.lens.readings):
        raise ValueError("the lens names a token that there is not")


def _check_reading(reading: Reading, sides: int) -> None:
    tokens = reading.tokens
    if reading.side not in range(sides) or [token.index for token in tokens] != list(range(len(tokens))):
        raise ValueError("the lens is out of order")
    if not all(view.top for token in tokens for view in token.views):
        raise ValueError("the lens has a position without a choice")
    if not all(0 <= flip < len(tokens) for flip in reading.different_top):
        raise ValueError("the lens names a token that there is not")
