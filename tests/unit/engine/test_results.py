"""Kept results: kept whole or not at all, shared by several processes, and never in anybody's way."""

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
from engine.results import SCHEMA_VERSION, Results
from engine.stats.metrics import Metrics
from engine.votes.votes import BlindAnswer, BlindTurn

VOTER = """
import sys
from contextlib import closing
from pathlib import Path
from engine.results import Results
from tests.unit.engine.test_results import TURN
results = Results(Path(sys.argv[1]))
while True:
    print(results.keep_turn(TURN), flush=True)
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
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "folder" / "results.sqlite3")


def test_a_turn_comes_back_as_it_was(results: Results) -> None:
    results.keep_turn(TURN)
    assert results.turns() == [TURN]


def test_a_turn_is_completed_and_its_vote_stays(results: Results) -> None:
    early = replace(TURN, answers=(replace(ANSWER, text="j", finish_reason=None), TURN.answers[1]))
    number = results.keep_turn(early)
    results.keep_turn(replace(TURN, verdict="a"), number)
    assert results.turns() == [TURN]


def test_a_turn_without_a_vote_is_kept_too(results: Results) -> None:
    results.keep_turn(replace(TURN, verdict=None, created=""))
    (kept,) = results.turns()
    assert kept.verdict is None and kept.created.endswith("+00:00")


def test_a_turn_whose_settings_have_a_key_that_is_gone_is_read(results: Results) -> None:
    results.keep_turn(TURN)
    with closing(sqlite3.connect(results.file)) as db, db:
        db.execute("UPDATE turns SET generation = json_set(generation, '$.compile', json('false'))")
    assert results.turns() == [TURN]


def test_runs_are_listed_by_kind_the_newest_first(results: Results) -> None:
    first = results.keep_run("bench", "one", b'{"rows": []}')
    results.keep_run("fidelity", "other", b"{}")
    second = results.keep_run("bench", "two", b"{}")
    assert results.keep_run("bench", "one, longer", b'{"rows": [1]}', first) == first
    assert [(run.id, run.title) for run in results.runs("bench")] == [(second, "two"), (first, "one, longer")]
    assert results.run_body(first) == b'{"rows": [1]}'
    with pytest.raises(HistoryError, match="no run 99"):
        results.run_body(99)


def test_a_kill_in_the_middle_of_votes_leaves_whole_votes(results: Results) -> None:
    """Two voters at once, both killed: every vote that was said to be kept is there with all its parts."""
    voters = [
        subprocess.Popen(
            [sys.executable, "-c", VOTER, str(results.file)],
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
    kept = results.turns()
    assert len(kept) >= len(said) == max(said)
    assert all(turn == TURN for turn in kept)
    with sqlite3.connect(results.file) as db:
        for table in ("turns", "votes"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (len(kept),)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_unfinished_vote_is_not_there(results: Results) -> None:
    results.keep_turn(TURN)
    with pytest.raises(HistoryError, match="CHECK"):
        results.keep_turn(replace(TURN, verdict="nobody"))  # type: ignore[arg-type]
    assert results.turns() == [TURN]


def test_a_damaged_file_is_reported_in_a_line(results: Results) -> None:
    results.file.parent.mkdir()
    results.file.write_bytes(b"this is no database, " * 300)
    with pytest.raises(HistoryError) as caught:
        results.turns()
    assert str(results.file) in caught.value.message and "\n" not in str(caught.value)
    assert "damaged" in caught.value.hint


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match="cannot be used"):
        Results(tmp_path / "file" / "results.sqlite3").keep_turn(TURN)


def test_a_newer_file_is_left_alone(results: Results) -> None:
    results.keep_turn(TURN)
    with sqlite3.connect(results.file) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(HistoryError, match="newer QuantDuel"):
        results.keep_turn(TURN)
