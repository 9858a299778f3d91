"""Results, kept for good: blind turns with both answers and their votes, and what long runs have measured.

Owns the tables. Each call is a transaction of its own (`engine.database`), so any thread and several
QuantDuels may use the file at once, and a crash leaves all of a vote or nothing of it. Knows nothing of what
votes and runs mean: `engine.votes.leaderboard` counts, and a run's body is its owner's JSON.
"""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from engine import paths
from engine.config.profile import Generation
from engine.database import Database
from engine.errors import HistoryError
from engine.votes.votes import BlindAnswer, BlindTurn

RunKind = Literal["bench", "fidelity"]
TABLES = (
    """CREATE TABLE turns (
        id INTEGER PRIMARY KEY,
        created TEXT NOT NULL,
        prompt TEXT NOT NULL,
        generation TEXT NOT NULL,
        left_side INTEGER NOT NULL CHECK (left_side IN (0, 1)))""",
    """CREATE TABLE answers (
        turn INTEGER NOT NULL REFERENCES turns (id),
        side INTEGER NOT NULL CHECK (side IN (0, 1)),
        profile TEXT NOT NULL,
        answer TEXT NOT NULL,
        PRIMARY KEY (turn, side))""",
    """CREATE TABLE votes (
        turn INTEGER PRIMARY KEY REFERENCES turns (id),
        created TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('a', 'b', 'tie', 'both bad')))""",
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        created TEXT NOT NULL,
        title TEXT NOT NULL,
        body BLOB NOT NULL)""",
    "CREATE INDEX runs_by_kind ON runs (kind, id)",
)
SCHEMA_VERSION = len(MIGRATIONS := (TABLES,))
ALL_TURNS = """
    SELECT turns.created, prompt, generation, left_side, a.answer, b.answer, verdict FROM turns
    JOIN answers AS a ON a.turn = turns.id AND a.side = 0
    JOIN answers AS b ON b.turn = turns.id AND b.side = 1
    LEFT JOIN votes ON votes.turn = turns.id ORDER BY turns.id"""


class Run(Struct, frozen=True, kw_only=True):
    """A kept run, without its body."""

    id: int
    kind: RunKind
    created: str
    """ISO 8601, UTC."""
    title: str


class Results:
    """The file. The first call makes it."""

    def __init__(self, file: Path | None = None) -> None:
        self._database = Database(file or paths.results(), MIGRATIONS)
        self.file = self._database.file

    def keep_turn(self, turn: BlindTurn, kept: int | None = None) -> int:
        """Keep a turn with its vote, where it has one; returns its number. `kept` is one to complete."""
        with self._database.transaction() as db:
            number = _insert_turn(db, turn) if kept is None else kept
            _write_answers(db, number, turn)
            return number

    def turns(self) -> list[BlindTurn]:
        """Every turn, the oldest first."""
        with self._database.reading() as db:
            return [_turn(row) for row in db.execute(ALL_TURNS)]

    def keep_run(self, kind: RunKind, title: str, body: bytes, kept: int | None = None) -> int:
        """Keep a run's JSON document; returns its number. `kept` is one to replace: a run that has grown."""
        with self._database.transaction() as db:
            if kept is not None:
                db.execute("UPDATE runs SET title = ?, body = ? WHERE id = ?", (title, body, kept))
                return kept
            insert = "INSERT INTO runs (kind, created, title, body) VALUES (?, ?, ?, ?)"
            return _number(db.execute(insert, (kind, _now(), title, body)))

    def runs(self, kind: RunKind, limit: int = 50) -> list[Run]:
        """The latest runs of a kind, the newest first."""
        query = "SELECT id, created, title FROM runs WHERE kind = ? ORDER BY id DESC LIMIT ?"
        with self._database.reading() as db:
            rows = db.execute(query, (kind, limit)).fetchall()
        return [Run(id=number, kind=kind, created=created, title=title) for number, created, title in rows]

    def run_body(self, run: int) -> bytes:
        """A run's JSON document; HistoryError where there is no such run."""
        with self._database.reading() as db:
            row = db.execute("SELECT body FROM runs WHERE id = ?", (run,)).fetchone()
        if row is None:
            raise HistoryError(f"the kept results have no run {run}")
        return bytes(row[0])


def _insert_turn(db: sqlite3.Connection, turn: BlindTurn) -> int:
    insert = "INSERT INTO turns (created, prompt, generation, left_side) VALUES (?, ?, ?, ?)"
    row = (turn.created or _now(), turn.prompt, msgspec.json.encode(turn.generation).decode(), turn.left)
    return _number(db.execute(insert, row))


def _write_answers(db: sqlite3.Connection, number: int, turn: BlindTurn) -> None:
    """The answers as they are now, and the vote; a vote that is there already stays."""
    for side, answer in enumerate(turn.answers):
        row = (number, side, answer.profile, msgspec.json.encode(answer).decode())
        db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", row)
    if turn.verdict is not None:
        db.execute(
            "INSERT INTO votes VALUES (?, ?, ?) ON CONFLICT (turn) DO NOTHING", (number, _now(), turn.verdict)
        )


def _turn(row: tuple[Any, ...]) -> BlindTurn:
    created, prompt, generation, left, a, b, verdict = row
    return BlindTurn(
        created=created,
        prompt=prompt,
        generation=_generation(generation),
        left=left,
        answers=(_answer(a), _answer(b)),
        verdict=verdict,
    )


def _generation(text: str) -> Generation:
    """The settings of a turn; what is no setting any more is left out."""
    kept = msgspec.json.decode(text, type=dict[str, Any])
    known = {name: value for name, value in kept.items() if name not in Generation.RETIRED}
    return msgspec.convert(known, Generation)


def _answer(text: str) -> BlindAnswer:
    return msgspec.json.decode(text, type=BlindAnswer)


def _number(cursor: sqlite3.Cursor) -> int:
    return int(cursor.lastrowid or 0)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
