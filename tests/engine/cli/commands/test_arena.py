"""`quantduel arena` on models in llama.cpp, which start at once: votes from a pipe, kept and counted."""

import csv
import io
import json
from pathlib import Path

import pytest

from engine import cli
from engine.results import Results

PROMPTS = "Hello there\nTell me a joke\nWhat is 2+2?\nGood night\n"
PACKED = "smollm2-q4-llama-cpp"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def own_home(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without votes, with the model."""
    (home / "cache").mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache").symlink_to(home / "cache")
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))
    return tmp_path


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_votes_from_a_pipe_are_kept_and_counted(
    own_home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = own_home / "prompts.txt"
    file.write_text(PROMPTS)
    type_in(monkeypatch, "l\nwhat\nR\nb\n")  # and no word on the last prompt
    other = own_home / "smollm2-other.yaml"
    other.write_text("model: {source: demo}\nquantization: {method: llama_cpp}\n")
    args = ["arena", PACKED, str(other), "--prompts", str(file), "--json"]
    assert cli.run([*args, "--max-new-tokens", "6", "--shuffle-seed", "1", "--set", "temperature=0.5"]) == 0
    out, err = capsys.readouterr()
    turns = json.loads(out)
    assert [turn["prompt"] for turn in turns] == PROMPTS.splitlines()
    lefts = [turn["left"] for turn in turns]
    assert [turn["verdict"] for turn in turns] == ["ab"[lefts[0]], "ba"[lefts[1]], "both bad", None]
    for turn in turns:
        assert turn["generation"]["temperature"] == 0.5  # the same on both sides
        assert [answer["profile"] for answer in turn["answers"]] == [PACKED, "smollm2-other"]
    assert [json.loads(json.dumps(turn)) for turn in turns] == turns
    assert len(Results().turns()) == 4
    assert "'what' is not one of" in err
    blind, _, revealed = err.partition(" was ")
    assert "smollm2" not in blind and "tok/s" not in blind
    assert "smollm2" in revealed
    assert "6 tokens, cut at the limit of 6 tokens (max_new_tokens))" in revealed
    _check_leaderboard(own_home, capsys)


def _check_leaderboard(home: Path, capsys: Capture) -> None:
    export = home / "board.csv"
    assert cli.run(["leaderboard", "--format", "json", "--export", str(export)]) == 0
    board = json.loads(capsys.readouterr().out)
    assert board["votes"] == 3 and board["excluded"] == {"no vote": 1}
    rows = list(csv.DictReader(io.StringIO(export.read_text())))
    assert [row["profile"] for row in rows] == [s["profile"] for s in board["standings"]]
    assert {row["both_bad"] for row in rows} == {"1"}
    assert cli.run(["leaderboard", "someone-else"]) == 0
    assert "No votes yet" in capsys.readouterr().out
