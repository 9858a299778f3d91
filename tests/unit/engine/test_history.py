"""The history: kept whole or not at all, shared by several processes, and never in anybody's way."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.config.profile import Generation
from engine.errors import HistoryError
from engine.history import SCHEMA_VERSION, History
from engine.stats.metrics import Metrics
from engine.votes.votes import BlindAnswer, BlindTurn

VOTER = """
import sys
from contextlib import closing
from pathlib import Path
from engine.history import History
from tests.unit.engine.test_history import TURN
history = History(Path(sys.argv[1]))
while True:
    print(history.keep_turn(TURN), flush=True)
"""
METRICS = Metrics(
    ttft_ms=1.5,
    prefill_tok_s=None,
    decode_tok_s=12.25,
    itl_p50_ms=80.0,
    itl_p95_ms=90.0,
    prompt_tokens=3,
    new_tokens=4,
    contended=False,
)
ANSWER = BlindAnswer(
    profile="a", label="bf16", names=("a",), text="ja\x00 ü 🙂\n", finish_reason="stop", metrics=METRICS
)
TURN = BlindTurn(
    prompt="why?",
    generation=Generation(temperature=0.7, stop=("x",)),
    left=1,
    answers=(ANSWER, replace(ANSWER, profile="b", failure="killed", finish_reason=None, metrics=None)),
    verdict="b",
    created="2026-01-02T03:04:05+00:00",
)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "folder" / "history.sqlite3")


def test_a_turn_comes_back_as_it_was(history: History) -> None:
    history.keep_turn(TURN)
    assert history.turns() == [TURN]


def test_a_turn_is_completed_and_its_vote_stays(history: History) -> None:
    early = replace(TURN, answers=(replace(ANSWER, text="j", finish_reason=None), TURN.answers[1]))
    number = history.keep_turn(early)
    history.keep_turn(replace(TURN, verdict="a"), number)
    assert history.turns() == [TURN]


def test_a_turn_without_a_vote_is_kept_too(history: History) -> None:
    history.keep_turn(replace(TURN, verdict=None, created=""))
    (kept,) = history.turns()
    assert kept.verdict is None and kept.created.endswith("+00:00")


def test_a_turn_whose_settings_have_a_key_that_is_gone_is_read(history: History) -> None:
    history.keep_turn(TURN)
    with closing(sqlite3.connect(history.file)) as db, db:
        db.execute("UPDATE turns SET generation = json_set(generation, '$.compile', json('false'))")
    assert history.turns() == [TURN]


def test_runs_are_listed_by_kind_the_newest_first(history: History) -> None:
    first = history.keep_run("bench", "one", b'{"rows": []}')
    history.keep_run("fidelity", "other", b"{}")
    second = history.keep_run("bench", "two", b"{}")
    assert history.keep_run("bench", "one, longer", b'{"rows": [1]}', first) == first
    assert [(run.id, run.title) for run in history.runs("bench")] == [(second, "two"), (first, "one, longer")]
    assert history.run_body(first) == b'{"rows": [1]}'
    with pytest.raises(HistoryError, match="no run 99"):
        history.run_body(99)


def test_a_kill_in_the_middle_of_votes_leaves_whole_votes(history: History) -> None:
    """Two voters at once, both killed: every vote that was said to be kept is there with all its parts."""
    voters = [
        subprocess.Popen(
            [sys.executable, "-c", VOTER, str(history.file)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
            text=True,
        )
        for _ in range(2)
    ]
    said = {int(voter.stdout.readline()) for voter in voters for _ in range(4)}  # type: ignore[union-attr]
    for voter in voters:
        os.kill(voter.pid, signal.SIGKILL)
    for voter in voters:
        said |= {int(line) for line in (voter.communicate()[0] or "").splitlines()}
    kept = history.turns()
    assert len(kept) >= len(said) == max(said)
    assert all(turn == TURN for turn in kept)
    with sqlite3.connect(history.file) as db:
        for table in ("turns", "votes"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (len(kept),)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_unfinished_vote_is_not_there(history: History) -> None:
    history.keep_turn(TURN)
    with pytest.raises(HistoryError, match="CHECK"):
        history.keep_turn(replace(TURN, verdict="nobody"))  # type: ignore[arg-type]
    assert history.turns() == [TURN]


def test_a_damaged_file_is_reported_in_a_line(history: History) -> None:
    history.file.parent.mkdir()
    history.file.write_bytes(b"this is no database, " * 300)
    with pytest.raises(HistoryError) as caught:
        history.turns()
    assert str(history.file) in caught.value.message and "\n" not in str(caught.value)
    assert "damaged" in caught.value.hint


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match="cannot be used"):
        History(tmp_path / "file" / "history.sqlite3").keep_turn(TURN)


def test_a_newer_history_is_left_alone(history: History) -> None:
    history.keep_turn(TURN)
    with sqlite3.connect(history.file) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(HistoryError, match="newer QuantDuel"):
        history.keep_turn(TURN)
