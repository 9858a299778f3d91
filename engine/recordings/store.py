"""The kept duels: a SQLite file that grows with every answer; listed, searched, renamed, deleted, restored.

Owns the tables and what is in them. A deleted duel can be brought back for some days; then it is removed for
good. Knows no screen, and not when something is written: that is the keeper's business.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine import paths
from engine.config.profile import Generation, Profile, Prompt
from engine.database import Database
from engine.duel.conversation import History
from engine.duel.lens import Lens
from engine.errors import HistoryError, InputError
from engine.protocol.answers import Finished, Message
from engine.protocol.failure import Failed
from engine.recordings.recording import (
    LONGEST_TITLE,
    TORN,
    Profiles,
    RecordedTurn,
    Recording,
    SideEvent,
    tolerant,
)
from engine.session.schedule import Schedule

KEPT_AFTER_DELETION = timedelta(days=7)
LARGEST_ID = 2**63 - 1  # SQLite's
UNREADABLE = "unreadable"  # instead of the names of profiles that this version cannot read
SHORTEST_TITLE = 60  # characters of the first prompt
MIGRATIONS = (
    (
        """CREATE TABLE duels (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            created TEXT NOT NULL,
            title TEXT NOT NULL,
            profiles TEXT NOT NULL,
            histories TEXT NOT NULL,
            deleted TEXT)""",
        """CREATE TABLE turns (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            duel INTEGER NOT NULL REFERENCES duels (id) ON DELETE CASCADE,
            after INTEGER REFERENCES turns (id) ON DELETE CASCADE,
            created TEXT NOT NULL,
            prompt TEXT NOT NULL,
            generation TEXT NOT NULL,
            schedule TEXT NOT NULL,
            lens BLOB)""",
        "CREATE INDEX turns_by_duel ON turns (duel)",
        "CREATE INDEX turns_by_after ON turns (after)",
        """CREATE TABLE pieces (
            turn INTEGER NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
            number INTEGER NOT NULL,
            events BLOB NOT NULL,
            PRIMARY KEY (turn, number)) WITHOUT ROWID""",
        """CREATE TABLE answers (
            turn INTEGER NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
            side INTEGER NOT NULL CHECK (side IN (0, 1)),
            text TEXT NOT NULL,
            PRIMARY KEY (turn, side))""",
    ),
    ("ALTER TABLE turns ADD COLUMN prompts TEXT NOT NULL DEFAULT '[]'",),
    ("ALTER TABLE turns ADD COLUMN taken TEXT NOT NULL DEFAULT '[null,null]'",),
    (  # more than two sides
        """CREATE TABLE texts (
            turn INTEGER NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
            side INTEGER NOT NULL CHECK (side >= 0),
            text TEXT NOT NULL,
            PRIMARY KEY (turn, side))""",
        "INSERT INTO texts SELECT turn, side, text FROM answers",
        "DROP TABLE answers",
        "ALTER TABLE texts RENAME TO answers",
    ),
    ("ALTER TABLE turns ADD COLUMN history TEXT NOT NULL DEFAULT 'own'",),
)
LIST = """
    SELECT duels.id, duels.created, title, profiles,
        (SELECT prompt FROM turns WHERE duel = duels.id ORDER BY id LIMIT 1),
        (SELECT count(*) FROM turns WHERE duel = duels.id),
        (SELECT max(created) FROM turns WHERE duel = duels.id)
    FROM duels WHERE (deleted IS NOT NULL) = :deleted AND (
        :words = '' OR matches(title, :words) OR matches(profiles, :words)
        OR EXISTS (SELECT 1 FROM turns LEFT JOIN answers ON answers.turn = turns.id
            WHERE duel = duels.id AND (matches(prompt, :words) OR matches(text, :words))))
    ORDER BY duels.id DESC LIMIT :limit"""
ADD_TEXT = """INSERT INTO answers VALUES (?, ?, ?)
    ON CONFLICT (turn, side) DO UPDATE SET text = text || excluded.text"""


class KeptDuel(Struct, frozen=True, kw_only=True):
    """One row of the list."""

    id: int
    created: str
    """ISO 8601, UTC; so is `last`."""
    last: str
    """When its last prompt was sent."""
    title: str
    """The user's, else the beginning of the first prompt."""
    profiles: tuple[str, ...]
    labels: tuple[str, ...]
    turns: int


class Duels:
    """The file. The first call makes it; any thread and several QuantDuels may use it at once."""

    def __init__(self, file: Path | None = None) -> None:
        self._database = Database(file or paths.duels(), MIGRATIONS, survives_power_cuts=False)
        self.file = self._database.file

    @contextmanager
    def change(self) -> Iterator["Change"]:
        """Several changes that hold together, or not at all."""
        with self._database.transaction() as db:
            yield Change(db)

    def found(self, words: str = "", *, limit: int = 200, deleted: bool = False) -> list[KeptDuel]:
        """The latest duels that have these words in title, profiles, prompts or answers; the newest first."""
        given = {"words": words.casefold().strip(), "limit": limit, "deleted": deleted}
        with self._database.reading() as db:
            db.create_function("matches", 2, _matches, deterministic=True)
            rows = db.execute(LIST, given).fetchall()
        return [_kept(row) for row in rows]

    def get(self, duel: int) -> Recording:
        """All of a duel; InputError where there is none of this number."""
        with self._database.reading() as db:
            row = _one(db, duel)
            turns = db.execute("SELECT * FROM turns WHERE duel = ? ORDER BY id", (duel,)).fetchall()
            pieces = {turn[0]: _pieces(db, turn[0]) for turn in turns}
        try:
            return _recording(row, turns, pieces)
        except msgspec.MsgspecError as error:
            raise HistoryError(f"duel {duel} of {self.file} cannot be read: {error}") from error

    def turn_ids(self, duel: int) -> list[int]:
        """The numbers of a duel's turns in this file, in the order of its recording."""
        with self._database.reading() as db:
            rows = db.execute("SELECT id FROM turns WHERE duel = ? ORDER BY id", (duel,)).fetchall()
        return [number for (number,) in rows]

    def rename(self, duel: int, title: str) -> None:
        """Give a duel a title; an empty one is its first prompt again."""
        with self._database.transaction() as db:
            _one(db, duel)
            db.execute("UPDATE duels SET title = ? WHERE id = ?", (title.strip()[:LONGEST_TITLE], duel))

    def delete(self, duel: int) -> None:
        """Take a duel from the list; `restore` brings it back for some days."""
        with self._database.transaction() as db:
            _one(db, duel)
            db.execute("UPDATE duels SET deleted = ? WHERE id = ?", (now(), duel))

    def restore(self, duel: int) -> None:
        """Bring a deleted duel back; InputError where it is gone for good."""
        with self._database.transaction() as db:
            _one(db, duel, deleted=True)
            db.execute("UPDATE duels SET deleted = NULL WHERE id = ?", (duel,))

    def remove(self, duel: int) -> None:
        """Remove a duel for good, deleted before or not."""
        with self._database.transaction() as db:
            if duel > LARGEST_ID or not _removed(db, "id = ?", duel):
                raise _unknown(duel)


class Change:
    """What a keeper writes, in one transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def begin_duel(
        self, profiles: Sequence[Profile], histories: Sequence[Sequence[Message]], created: str
    ) -> int:
        """A new duel; returns its number. Those deleted long ago are removed."""
        limit = (datetime.now(UTC) - KEPT_AFTER_DELETION).isoformat(timespec="seconds")
        _removed(self._db, "deleted < ?", limit)
        insert = "INSERT INTO duels (created, title, profiles, histories) VALUES (?, '', ?, ?)"
        return _number(self._db.execute(insert, (created, _json(profiles), _json(histories))))

    def begin_turn(self, duel: int, turn: RecordedTurn, after: int | None) -> int:
        """A turn without its events; returns its number. `after` is the number of another."""
        insert = """INSERT INTO turns (duel, after, created, prompt, generation, schedule, prompts, history)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
        settings = _json(turn.generation), turn.schedule, _json(turn.prompts), turn.history
        row = (duel, after, turn.created, turn.prompt, *settings)
        return _number(self._db.execute(insert, row))

    def add(self, turn: int, events: Sequence[SideEvent]) -> None:
        """What was said since the last call."""
        number = "(SELECT coalesce(max(number), 0) + 1 FROM pieces WHERE turn = ?)"
        encoded = msgspec.json.encode(events)
        self._db.execute(f"INSERT INTO pieces VALUES (?, {number}, ?)", (turn, turn, encoded))
        for side in sorted({whose for whose, _ in events}):
            if text := "".join(getattr(event, "text", "") for whose, event in events if whose == side):
                self._db.execute(ADD_TEXT, (turn, side, text))

    def has(self, duel: int, *, listed: bool = False) -> bool:
        """Whether the duel is in the file still; `listed`: and was not deleted."""
        row = self._db.execute("SELECT deleted FROM duels WHERE id = ?", (duel,)).fetchone()
        return row is not None and not (listed and row[0])

    def set_taken(self, turn: int, turns: Sequence[int | None]) -> None:
        """The numbers of the turns whose answers stand in this one, by side."""
        self._db.execute("UPDATE turns SET taken = ? WHERE id = ?", (_json(turns), turn))

    def set_lens(self, turn: int, lens: Lens) -> None:
        """What both models say of a turn's tokens."""
        self._db.execute("UPDATE turns SET lens = ? WHERE id = ?", (msgspec.json.encode(lens), turn))


def now() -> str:
    """This moment, as the file has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def title_of(title: str, prompt: str) -> str:
    """The user's title, else the first prompt's beginning."""
    line = " ".join(prompt.split())
    return title or (line if len(line) <= SHORTEST_TITLE else line[: SHORTEST_TITLE - 1] + "…")


def _matches(text: str | None, words: str) -> bool:
    return text is not None and words in text.casefold()


def _kept(row: tuple[Any, ...]) -> KeptDuel:
    number, created, title, profiles, prompt, turns, last = row
    names, labels = _names(profiles)
    return KeptDuel(
        id=number,
        created=created,
        last=last or created,
        title=title_of(title, prompt or ""),
        profiles=names,
        labels=labels,
        turns=turns,
    )


def _names(profiles: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the sides are called, and their labels; one duel that cannot be read hides no other."""
    try:
        found = _profiles(profiles)
    except msgspec.MsgspecError:
        return (UNREADABLE, UNREADABLE), (UNREADABLE, UNREADABLE)
    return tuple(profile.name for profile in found), tuple(profile.label for profile in found)


def _one(db: sqlite3.Connection, duel: int, *, deleted: bool = False) -> tuple[Any, ...]:
    where = "id = ? AND (deleted IS NOT NULL) = ?"
    if duel > LARGEST_ID:
        raise _unknown(duel)
    row = db.execute(f"SELECT * FROM duels WHERE {where}", (duel, deleted)).fetchone()
    if row is None:
        raise _unknown(duel)
    found: tuple[Any, ...] = row
    return found


def _removed(db: sqlite3.Connection, which: str, value: object) -> int:
    """Remove duels, and what they said from the file; how many there were."""
    db.execute("PRAGMA secure_delete = ON")
    return db.execute(f"DELETE FROM duels WHERE {which}", (value,)).rowcount


def _unknown(duel: int) -> InputError:
    return InputError(f"no kept duel {duel}", "`quantduel history list` shows all")


def _pieces(db: sqlite3.Connection, turn: int) -> list[tuple[int, bytes]]:
    """By their numbers, which begin with 1."""
    rows = db.execute("SELECT number, events FROM pieces WHERE turn = ? ORDER BY number", (turn,))
    return list(rows)


def _events(pieces: Sequence[tuple[int, bytes]], sides: int) -> Iterator[SideEvent]:
    """What was said, up to a piece that is missing; a side that had not ended before it ends there."""
    going_on = set(range(sides))
    for place, (number, piece) in enumerate(pieces, 1):
        if number != place:
            yield from ((side, TORN) for side in sorted(going_on))
            return
        for side, event in msgspec.json.decode(piece, type=tuple[SideEvent, ...]):
            going_on -= {side} if isinstance(event, Finished | Failed) else set()
            yield side, event


def _recording(
    row: tuple[Any, ...], turns: Sequence[tuple[Any, ...]], pieces: dict[int, list[tuple[int, bytes]]]
) -> Recording:
    _, created, title, profiles, histories, _ = row
    places = {turn[0]: place for place, turn in enumerate(turns)}
    found = _profiles(profiles)
    events = (tuple(_events(pieces[turn[0]], len(found))) for turn in turns)
    return Recording(
        profiles=found,
        turns=tuple(_turn(turn, places, said) for turn, said in zip(turns, events, strict=True)),
        title=title_of(title, turns[0][4] if turns else ""),
        created=created,
        histories=msgspec.json.decode(histories, type=tuple[tuple[Message, ...], ...]),
    )


def _turn(row: tuple[Any, ...], places: dict[int, int], events: tuple[SideEvent, ...]) -> RecordedTurn:
    _, _, after, created, prompt, generation, schedule, lens, prompts, taken, history = row
    return RecordedTurn(
        prompt=prompt,
        created=created,
        generation=tolerant(msgspec.json.decode(generation), Generation),
        prompts=tolerant(msgspec.json.decode(prompts), tuple[Prompt, ...]),
        history=msgspec.convert(history, History),
        schedule=msgspec.convert(schedule, Schedule),
        events=events,
        lens=msgspec.json.decode(lens, type=Lens) if lens else None,
        after=places.get(after),
        taken=_places(taken, places),
    )


def _places(text: str, places: dict[int, int]) -> tuple[int | None, ...]:
    taken = msgspec.json.decode(text, type=tuple[int | None, ...])
    return tuple(places.get(turn) if turn else None for turn in taken)


def _profiles(text: str) -> Profiles:
    found: Profiles = tolerant(msgspec.json.decode(text), Profiles)
    return found


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _number(cursor: sqlite3.Cursor) -> int:
    return int(cursor.lastrowid or 0)
