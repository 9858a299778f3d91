"""One SQLite file that threads and processes use at once: opened, brought up to date, changed as a whole.

Owns connections, transactions, versions of a schema, and what is said of a file that cannot be used. Knows no
table. A file that cannot be used raises HistoryError, a line for the user; the caller shows it and goes on.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import msgspec

from engine import private
from engine.errors import HistoryError

BUSY_TIMEOUT_S = 5.0
UNWRITABLE = ("SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY")  # and what begins so

Migration = Sequence[str]
"""The statements that lead from one version of a schema to the next."""


class Database:
    """The file, for its owner alone. The first transaction makes it."""

    def __init__(
        self, file: Path, migrations: Sequence[Migration], *, survives_power_cuts: bool = True
    ) -> None:
        self.file = file
        self._migrations = migrations
        self._synchronous = "FULL" if survives_power_cuts else "NORMAL"

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own whose changes hold at the end, all of them; after an exception, none.

        A process may be killed at any moment. Without `survives_power_cuts` the last changes before the whole
        machine ends may be missing, none of them by half.
        """
        with self._reported():
            private.folder(self.file.parent)
            private.file(self.file)
            with closing(self._connected()) as db, db:
                db.execute("BEGIN IMMEDIATE")
                self._migrate(db)
                yield db

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that only reads: on a full disk and in a folder that cannot be written, too."""
        with ExitStack() as stack, self._reported():
            try:
                db = stack.enter_context(self.transaction())
            except HistoryError as error:
                if not _is_unwritable(error.__cause__) or (found := self._unchanging()) is None:
                    raise
                db = stack.enter_context(closing(found))
            yield db

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
            raise HistoryError(f"{self.file} cannot be used: {error}", _hint(error)) from error

    def _unchanging(self) -> sqlite3.Connection | None:
        """The file as it stands; None where that is not all of it, or not of this version."""
        log = self.file.with_name(f"{self.file.name}-wal")
        if not self.file.is_file() or (log.exists() and log.stat().st_size):
            return None
        db = sqlite3.connect(f"{self.file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == len(self._migrations):
            return db
        db.close()
        return None

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.file, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        db.execute("PRAGMA foreign_keys = ON")
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > len(self._migrations):
            raise HistoryError(f"{self.file} was written by a newer QuantDuel", "update this one")
        for statement in (line for migration in self._migrations[version:] for line in migration):
            db.execute(statement)
        if version < len(self._migrations):
            db.execute(f"PRAGMA user_version = {len(self._migrations)}")


def _is_unwritable(error: BaseException | None) -> bool:
    name = str(getattr(error, "sqlite_errorname", ""))
    return isinstance(error, OSError) or name.startswith(UNWRITABLE)


def _hint(error: Exception) -> str:
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return "it is damaged: move it away, and a new one is started"
    return "nothing is saved meanwhile"
