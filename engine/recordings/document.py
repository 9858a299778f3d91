"""A recording as one JSON document: the events, to be played, and the figures, as `duel --json` has them."""

import msgspec

from engine.duel import turn as records
from engine.duel.duel import Duel
from engine.duel.turn import Turn
from engine.recordings.rebuilt import rebuilt
from engine.recordings.recording import FORMAT, VERSION, RecordedTurn, Recording, RecordingFile
from engine.sanitize import escaped


class Document(RecordingFile, frozen=True, kw_only=True):
    """A recording's file, and what is computed from its events: nobody reads that back."""

    records: tuple[Turn, ...]


def json_text(recording: Recording) -> str:
    """The document; `recording.read` reads it."""
    fields = {name: getattr(recording, name) for name in Recording.__struct_fields__}
    computed = tuple(map(_record, recording.turns, rebuilt(recording)))
    document = Document(format=FORMAT, version=VERSION, records=computed, **fields)
    return escaped(msgspec.json.encode(document).decode())


def _record(turn: RecordedTurn, duel: Duel) -> Turn:
    sides = [
        records.side(session, duel.answers.get(side), failure=None)
        for side, session in enumerate(duel.sessions)
    ]
    return records.record(duel, turn.prompt, turn.generation, sides)
