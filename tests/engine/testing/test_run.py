"""Tests with real workers on tiny random models: killed in the middle, gone on with, and all of it again."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import cli

NAMES = ("random-tiny-bf16", "random-tiny-nf4")
ROWS = [
    {"prompt": "one", "exact": "1"},
    {"prompt": "two", "regex": "[aeiou]"},
    {"prompt": "three", "template": "raw", "choices": ["a", "bb", "ccc"], "answer": 1},
    {"prompt": "four", "json_schema": {}},
    {"prompt": "five " * 3000, "exact": "too long"},
    {"prompt": "six", "regex": "."},
]


@pytest.mark.thorough
def test_a_killed_test_loses_the_answer_under_way_alone_and_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lend_compiled: Callable[[Path], None]
) -> None:
    """The real command, killed; then the same command goes on, and gates; then everything once more."""
    lend_compiled(home := tmp_path / "home")
    monkeypatch.setenv("QUANTDUEL_HOME", str(home))
    (questions := tmp_path / "mine.jsonl").write_text(
        "".join(json.dumps({"max_new_tokens": 4, **row}) + "\n" for row in ROWS)
    )
    args = ["test", *NAMES, "--set", str(questions)]
    code = "import sys; from engine import cli; sys.exit(cli.run(sys.argv[1:]))"
    with subprocess.Popen([sys.executable, "-c", code, *args], stdout=subprocess.DEVNULL) as process:
        while _answers(home) < 2 and process.poll() is None:
            os.sched_yield()
        process.kill()
    left = _answers(home)
    assert left >= 2
    resumed, junit, whole = tmp_path / "resumed.json", tmp_path / "out.xml", tmp_path / "whole.json"
    more = ["--out", str(resumed), "--junit", str(junit), "--max-drop", "0"]
    assert cli.run([*args, *more]) == 5, "six questions show nothing to within 0 points"
    assert 'failures="1"' in junit.read_text()
    found = json.loads(resumed.read_text())
    assert sum(row["from_before"] for row in found["rows"]) == left
    for row in found["rows"]:
        assert row["complete"] and row["unanswered"] == 1, "the prompt beyond the window counts as wrong"
    assert found["rows"][1]["other_input"] == 0 and found["rows"][1]["against"]["to_right"] is not None

    assert cli.run([*args, "--again", "--out", str(whole)]) == 0
    again = json.loads(whole.read_text())
    assert again["entries"] == found["entries"]
    assert [row["from_before"] for row in again["rows"]] == [0, 0]


def _answers(home: Path) -> int:
    try:
        with sqlite3.connect(f"file:{home}/data/tested.sqlite3?mode=ro", uri=True) as db:
            return int(db.execute("SELECT COUNT(*) FROM answers").fetchone()[0])
    except sqlite3.Error:
        return 0
