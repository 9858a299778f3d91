"""Blind votes: what a vote means, which turns count, and the leaderboard against independent references."""

import csv
import io
import math
import random
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binomtest

from engine.config import profile
from engine.config.profile import Generation
from engine.stats import binomial, bradley_terry
from engine.stats.bradley_terry import Game
from engine.votes import leaderboard_text
from engine.votes.leaderboard import ALONE, NEVER_AHEAD, UNBEATEN, Leaderboard, leaderboard
from engine.votes.votes import (
    BlindAnswer,
    BlindTurn,
    Choice,
    Shuffle,
    Verdict,
    exclusion_of,
    names_of,
    reveals,
    verdict_of,
)


def turn(a: str, b: str, verdict: Verdict | None, *, text: str = "an answer", **answer: object) -> BlindTurn:
    names = ("smollm2-nf4", "gptq")
    left = BlindAnswer(profile=a, label="x", names=names, text="one", finish_reason="stop")
    right = {"profile": b, "label": "y", "names": names, "text": text, "finish_reason": "stop"} | answer
    return BlindTurn(
        prompt="?", generation=Generation(), left=0, answers=(left, BlindAnswer(**right)), verdict=verdict
    )


def reference_elo(players: int, games: Sequence[Game]) -> list[float]:
    """Bradley–Terry by a general optimizer, from the likelihood's definition."""

    def loss(free: np.ndarray) -> float:
        theta = np.concatenate([[0.0], free])
        return sum(
            s * np.logaddexp(0, theta[j] - theta[i]) + (1 - s) * np.logaddexp(0, theta[i] - theta[j])
            for i, j, s in games
        )

    found = minimize(loss, np.zeros(players - 1), method="BFGS", options={"gtol": 1e-9}).x
    theta = np.concatenate([[0.0], found])
    return list(1000 + 400 / math.log(10) * (theta - theta.mean()))


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


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (0, 6), (3, 3), (20, 3), (700, 600)])
def test_exact_figures_at_the_edges(wins: int, losses: int) -> None:
    assert 0 <= binomial.two_sided_p(wins, losses) <= 1
    low, high = binomial.share_interval(wins, losses)
    if wins + losses:
        interval = binomtest(wins, wins + losses).proportion_ci(method="exact")
        assert (low, high) == (pytest.approx(interval.low, abs=1e-9), pytest.approx(interval.high, abs=1e-9))
    else:
        assert (low, high) == (0, 1) and binomial.two_sided_p(0, 0) == 1


def test_bradley_terry_by_hand() -> None:
    """Two players, three to one: odds of 3, so 400 · log10(3) apart."""
    found = bradley_terry.strengths(2, bradley_terry.scores_of([(0, 1, 1.0)] * 3 + [(1, 0, 1.0)]))
    assert found.elo[0] - found.elo[1] == pytest.approx(400 * math.log10(3))
    assert sum(found.elo) == pytest.approx(2000)


def test_a_lopsided_fit_converges() -> None:
    games: list[Game] = [(0, 1, 1.0)] * 999 + [(1, 0, 1.0), (1, 2, 1.0), (2, 1, 1.0)]
    found = bradley_terry.strengths(3, bradley_terry.scores_of(games))
    assert found.elo == pytest.approx(reference_elo(3, games), abs=0.01)


def test_intervals_repeat_with_their_seed_and_shrink_with_votes() -> None:
    draw = random.Random(3)
    games = [(*draw.sample(range(3), 2), draw.choice([0.0, 0.5, 1.0])) for _ in range(60)]
    once, again = (bradley_terry.intervals(3, games, rounds=100, seed=5) for _ in range(2))
    assert once == again
    wide, narrow = once[0], bradley_terry.intervals(3, games * 9, rounds=100, seed=5)[0]
    assert wide and narrow
    assert narrow.high - narrow.low == pytest.approx((wide.high - wide.low) / 3, rel=0.35)


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


def test_groups_that_never_met_are_told() -> None:
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


@pytest.mark.parametrize(
    ("choice", "left", "expected"),
    [("left", 0, "a"), ("left", 1, "b"), ("right", 0, "b"), ("right", 1, "a"), ("tie", 1, "tie")],
)
def test_a_choice_is_about_the_side_that_stood_there(choice: Choice, left: int, expected: Verdict) -> None:
    assert verdict_of(choice, left) == expected


def test_a_shuffle_is_fair_and_repeats_with_its_seed() -> None:
    throws = [[shuffle.left() for _ in range(200)] for shuffle in (Shuffle(1), Shuffle(1), Shuffle(2))]
    assert throws[0] == throws[1] != throws[2]
    assert 70 < sum(throws[0]) < 130
    assert [Shuffle().left() for _ in range(64)] != [Shuffle().left() for _ in range(64)]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({}, None),
        ({"failure": "the worker was killed"}, "failed"),
        ({"text": " ", "finish_reason": "cancelled"}, "cancelled before any text"),
        ({"text": "some", "finish_reason": "cancelled"}, None),
        ({"text": "I run GPTQ, you know"}, "a name in the text"),
        ({"text": "ungptqed"}, None),
    ],
)
def test_turns_that_do_not_count(case: dict[str, object], expected: str | None) -> None:
    assert exclusion_of(turn("a", "b", "a", **case)) == expected  # type: ignore[arg-type]


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


def test_names_are_those_of_profile_method_and_model() -> None:
    names = names_of(profile.find("llama-3.1-8b-gptq4"), "gptq4")
    for text in ("I am Llama.", "GPTQ4!", "with (nf4)", "the llama-3.1-8b-gptq4 profile"):
        assert reveals(text, names), text
    for text in ("llamas", "an instruction", "a tiny one", "I opt for it"):
        assert not reveals(text, names), text
    assert not reveals("it was stored as stored", names_of(profile.find("random:tiny"), "bf16"))


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
