"""The leaderboard in every format."""

import csv
import io

import msgspec
import pytest

from engine.votes import leaderboard_text
from engine.votes.leaderboard import Leaderboard, leaderboard
from tests.unit.engine.votes.samples import turn


def test_formats_agree(board: Leaderboard) -> None:
    rows = list(csv.DictReader(io.StringIO(leaderboard_text.text(board, "csv"))))
    read = msgspec.json.decode(leaderboard_text.text(board, "json"), type=Leaderboard)
    assert read == board
    assert [row["profile"] for row in rows] == [s.profile for s in board.standings]
    assert [float(row["elo"]) for row in rows] == [s.elo for s in board.standings]
    table = leaderboard_text.text(board, "table")
    assert all(f"{s.elo:.0f}" in table for s in board.standings)


def test_no_votes_say_how_to_vote() -> None:
    assert "arena" in leaderboard_text.text(leaderboard([]), "table")
    assert leaderboard_text.text(leaderboard([]), "csv") == ""


@pytest.fixture
def board() -> Leaderboard:
    """Three profiles in a circle."""
    votes = [turn("a", "b", "a"), turn("b", "c", "a"), turn("c", "a", "a"), turn("a", "b", "a")]
    return leaderboard(votes, rounds=20)
