"""The leaderboard against independent references, and who has no strength."""

import math
import random

import pytest
from scipy.stats import binomtest

from engine.votes import leaderboard_text
from engine.votes.leaderboard import ALONE, NEVER_AHEAD, UNBEATEN, leaderboard
from engine.votes.votes import (
    Verdict,
)
from tests.unit.engine.stats.test_bradley_terry import reference_elo
from tests.unit.engine.votes.samples import turn


def test_forty_votes_give_what_scipy_gives() -> None:
    draw, strength = random.Random(7), {"bf16": 0.9, "int8": 0.7, "nf4": 0.2, "rtn4": -0.6}
    turns, games, names = [], [], sorted(strength)
    for _ in range(40):
        a, b = draw.sample(names, 2)
        fair = 1 / (1 + math.exp(strength[b] - strength[a]))
        verdict: Verdict = draw.choices(["a", "b", "tie", "both bad"], [fair, 1 - fair, 0.15, 0.1])[0]
        turns.append(turn(a, b, verdict))
        games.append((names.index(a), names.index(b), {"a": 1.0, "b": 0.0}.get(verdict, 0.5)))
    board = leaderboard(turns, rounds=200)
    assert board.votes == 40
    expected = reference_elo(4, games)
    for standing in board.standings:
        assert standing.elo == pytest.approx(expected[names.index(standing.profile)], abs=0.01)
        assert standing.elo_low < standing.elo < standing.elo_high
    assert [s.elo for s in board.standings] == sorted((s.elo for s in board.standings), reverse=True)
    assert len(board.pairs) == 6
    for pair in board.pairs:
        reference = binomtest(pair.a_wins, pair.a_wins + pair.b_wins)
        interval = reference.proportion_ci(method="exact")
        assert pair.p_value == pytest.approx(reference.pvalue, rel=1e-9)
        assert pair.a_share_low == pytest.approx(interval.low, abs=1e-9)
        assert pair.a_share_high == pytest.approx(interval.high, abs=1e-9)


def test_a_worked_pair() -> None:
    """14 won : 5 lost. 2 · (C(19,0) + … + C(19,5)) / 2^19 = 2 · 16664 / 524288, by hand."""
    board = leaderboard(
        [turn("a", "b", verdict) for verdict in ["a"] * 14 + ["b"] * 5 + ["tie"] * 3 + ["both bad"]]
    )
    (pair,) = board.pairs
    assert pair.p_value == 2 * (1 + 19 + 171 + 969 + 3876 + 11628) / 2**19
    first, second = board.standings
    assert (first.profile, first.wins, first.losses, first.ties, first.both_bad) == ("a", 14, 5, 3, 1)
    assert (second.wins, second.losses) == (5, 14)
    assert first.score_share == (14 + 2) / 23
    assert first.elo is None and board.bootstrap_rounds == 0


def test_who_is_unbeaten_has_no_strength() -> None:
    votes = [turn("top", "mid", "a")] * 3 + [turn("mid", "low", "a"), turn("mid", "low", "b")]
    board = leaderboard(votes, rounds=50)
    assert [s.profile for s in board.standings] == ["top", "low", "mid"]
    top = board.standings[0]
    assert top.elo is None and top.remark == UNBEATEN
    assert board.notes == (f"top: {UNBEATEN}: its strength has no upper bound",)
    assert all(s.elo == pytest.approx(1000) for s in board.standings[1:])
    assert "Infinity" not in leaderboard_text.text(board, "json")


def test_a_chain_of_defeats_has_no_strengths_at_all() -> None:
    board = leaderboard([turn("x", "y", "a"), turn("y", "z", "a")], rounds=20)
    assert [(s.profile, s.remark) for s in board.standings] == [
        ("x", UNBEATEN),
        ("y", ALONE),
        ("z", NEVER_AHEAD),
    ]


def test_groups_that_never_met_are_reported() -> None:
    votes = [turn("a", "b", "tie"), turn("a", "b", "a"), turn("c", "d", "a")]
    board = leaderboard(votes, rounds=50)
    assert {s.profile: s.remark for s in board.standings} == {"a": "", "b": "", "c": ALONE, "d": ALONE}


def test_an_interval_may_be_open() -> None:
    """One lost vote of many: resamples without it have no finite strength."""
    votes = [turn("top", "mid", "a")] * 5 + [turn("top", "mid", "b")]
    votes += [turn("mid", "low", "a"), turn("mid", "low", "b"), turn("low", "mid", "tie")] * 3
    top = leaderboard(votes, rounds=200).standings[0]
    assert top.profile == "top" and top.elo is not None
    assert top.elo_high is None and top.elo_low is not None


def test_exclusions_are_counted() -> None:
    turns = [
        turn("a", "b", "a"),
        turn("a", "b", None),
        turn("a", "a", "tie"),
        turn("a", "b", "a", text="Gptq"),
    ]
    board = leaderboard(turns)
    assert board.votes == 1
    assert board.excluded == {"a name in the text": 1, "the same profile twice": 1, "no vote": 1}
    expected = "3 turns do not count: 1 a name in the text, 1 the same profile twice, 1 no vote"
    assert leaderboard_text.excluded_text(board) == expected
