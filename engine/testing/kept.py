"""Answers as they come, in one SQLite file: a test that was interrupted goes on where it was.

Owns the file and what makes two runs the same: the questions with their checks, the profile, the length of
answers, and the files of a local model. Answers of another model under the same names stay where they are,
and are said not to count. Each call is a transaction of its own, so a kill loses the answer under way alone.
Nothing is ever removed.
"""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from engine import paths
from engine.config.profile import Profile
from engine.config.sources import Folder, GgufFile
from engine.database import Database
from engine.protocol.model import ModelInfo
from engine.testing.questions import Answered, Questions

TABLES = (
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        created TEXT NOT NULL,
        questions TEXT NOT NULL,
        questions_sha256 TEXT NOT NULL,
        profile TEXT NOT NULL,
        model BLOB)""",
    """CREATE TABLE answers (
        run INTEGER NOT NULL REFERENCES runs (id),
        question TEXT NOT NULL,
        answer BLOB NOT NULL,
        PRIMARY KEY (run, question))""",
    "CREATE INDEX runs_by_key ON runs (key)",
    "CREATE INDEX runs_by_names ON runs (questions, profile)",
)
MIGRATIONS = (TABLES,)
LATEST = "SELECT id, model FROM runs WHERE key = ? ORDER BY id DESC LIMIT 1"
EARLIER = """SELECT questions_sha256, COUNT(*) FROM runs JOIN answers ON run = id
    WHERE questions = ? AND profile = ? GROUP BY id ORDER BY id DESC LIMIT 1"""
INSERT = "INSERT INTO runs (key, created, questions, questions_sha256, profile) VALUES (?, ?, ?, ?, ?)"
COPY = """INSERT INTO runs (key, created, questions, questions_sha256, profile)
    SELECT key, ?, questions, questions_sha256, profile FROM runs WHERE id = ?"""
SET_CHANGED = "the questions of {} have changed: its earlier answers ({}) do not count"
PROFILE_CHANGED = "its profile, or what it is tested with, has changed: its earlier answers ({}) do not count"
ALWAYS = ("model", "quantization", "prompt", "worker")
NO_PART_OF_A_MODEL = ("name", "description", "generation")
"""All else of a profile counts where it says something."""
MODEL_CHANGED = "its {} changed since its earlier answers ({}), which do not count"


class Found(Struct, frozen=True, kw_only=True):
    """What was kept of a model and a set."""

    run: int
    answers: dict[str, Answered] = {}
    """By the question's id."""
    model: ModelInfo | None = None
    """What was loaded when they were given."""
    note: str = ""
    """Why earlier answers do not count, where there are any."""


class Kept:
    """The file. The first call makes it; HistoryError where it cannot be used."""

    def __init__(self, file: Path | None = None) -> None:
        self._database = Database(file or paths.tested(), MIGRATIONS, survives_power_cuts=False)

    def open(self, asked: Questions, profile: Profile, max_new_tokens: int, *, again: bool = False) -> Found:
        """What this very profile answered to these very questions last; with `again` a new run."""
        key = run_key(asked, profile, max_new_tokens)
        with self._database.transaction() as db:
            row = None if again else db.execute(LATEST, (key,)).fetchone()
            if row is None:
                earlier = None if again else db.execute(EARLIER, (asked.name, profile.name)).fetchone()
                row = (key, _now(), asked.name, asked.sha256, profile.name)
                return Found(run=db.execute(INSERT, row).lastrowid or 0, note=_note(asked, earlier))
            number, model = row
            rows = db.execute("SELECT question, answer FROM answers WHERE run = ?", (number,)).fetchall()
        answers = {id: msgspec.json.decode(body, type=Answered) for id, body in rows}
        known = msgspec.json.decode(model, type=ModelInfo) if model else None
        return Found(run=number, answers=answers, model=known)

    def loaded(self, run: int, model: ModelInfo) -> None:
        """Keep what was loaded."""
        with self._database.transaction() as db:
            db.execute("UPDATE runs SET model = ? WHERE id = ?", (msgspec.json.encode(model), run))

    def renewed(self, run: int) -> int:
        """A new run of the same, without answers; its number."""
        with self._database.transaction() as db:
            return db.execute(COPY, (_now(), run)).lastrowid or 0

    def keep(self, run: int, question: str, answered: Answered) -> None:
        """Keep an answer."""
        with self._database.transaction() as db:
            row = (run, question, msgspec.json.encode(answered))
            db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)


def run_key(asked: Questions, profile: Profile, max_new_tokens: int) -> str:
    """Equal keys are equal questions to equal models."""
    plain = Profile(model=profile.model)
    names = [name for name in Profile.__struct_fields__ if name not in (*ALWAYS, *NO_PART_OF_A_MODEL)]
    said = [value for name in names if (value := getattr(profile, name)) != getattr(plain, name)]
    model = [*(getattr(profile, name) for name in ALWAYS), *said]
    content = [asked.sha256, max_new_tokens, model, _files(profile)]
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def changes(then: ModelInfo, now: ModelInfo) -> str:
    """What of a loaded model is not as it was, as far as answers may depend on it: `kernel, versions`."""
    names = (
        "label",
        "kernel",
        "dtype",
        "device_name",
        "step",
        "threads",
        "tokenizer_sha256",
        "versions",
        "weights",
    )
    return ", ".join(name for name in names if getattr(then, name) != getattr(now, name))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _note(asked: Questions, earlier: tuple[str, int] | None) -> str:
    if earlier is None:
        return ""
    sha256, count = earlier
    return SET_CHANGED.format(asked.name, count) if sha256 != asked.sha256 else PROFILE_CHANGED.format(count)


def _files(profile: Profile) -> list[tuple[str, int, int]]:
    """A local model's files by name, size and time of change."""
    match profile.source:
        case Folder(path):
            files = sorted(paths.expanded(path).glob("*"))
        case GgufFile(path):
            files = [paths.expanded(path)]
        case _:
            return []
    stats = [(file.name, file.stat()) for file in files if paths.answers(Path.is_file, file)]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
