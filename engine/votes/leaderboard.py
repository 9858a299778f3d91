"""Blind votes added up: wins, losses and ties, an exact test for each pair, strengths where there are three.

Pure: turns in, a document out, and its rows. `quantduel leaderboard --format json` prints the document; its
keys are documented in docs/measuring.md and stay.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from msgspec import Struct
from msgspec.structs import replace

from engine.stats import binomial, bradley_terry
from engine.stats.bradley_terry import Game, Interval
from engine.votes.votes import BlindTurn, Exclusion, counted, exclusions

ROUNDS = 1000
STRENGTHS_FROM = 3  # players; for two the exact test says it all
UNBEATEN, NEVER_AHEAD, ALONE = "unbeaten by the rest", "never ahead of the rest", "not comparable"
_WHY_NONE = {
    UNBEATEN: "its strength has no upper bound",
    NEVER_AHEAD: "its strength has no lower bound",
    ALONE: "no chain of votes for and against ties it to the rest",
}
_SCORES = {"a": 1.0, "b": 0.0, "tie": 0.5, "both bad": 0.5}


class Standing(Struct, frozen=True, kw_only=True):
    """One profile's votes. `elo` and its 95 % interval are there from three profiles on."""

    profile: str
    votes: int
    wins: int
    losses: int
    ties: int
    both_bad: int
    score_share: float
    """(wins + half of the ties) / votes; a vote for neither (`both bad`) is a tie."""
    elo: float | None = None
    """Null where it would be infinite, or where nothing compares it; `remark` says which."""
    elo_low: float | None = None
    """Null where the interval is open, or where there is no strength."""
    elo_high: float | None = None
    remark: str = ""


class Pair(Struct, frozen=True, kw_only=True):
    """Two profiles against each other, the higher one first; ties stay out of the test."""

    a: str
    b: str
    a_wins: int
    b_wins: int
    ties: int
    both_bad: int
    p_value: float
    """Of the exact two-sided binomial test: the chance of this or worse where both are equally good."""
    a_share: float | None
    """A's share of the votes that were won; null where none was."""
    a_share_low: float
    a_share_high: float


class Leaderboard(Struct, frozen=True, kw_only=True):
    """Everything the votes say."""

    votes: int
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    excluded: dict[Exclusion, int]
    """Turns that do not count, by reason."""
    bootstrap_rounds: int
    bootstrap_seed: int
    notes: tuple[str, ...]


def leaderboard(turns: Sequence[BlindTurn], *, rounds: int = ROUNDS, seed: int = 0) -> Leaderboard:
    """What these turns say."""
    votes = counted(turns)
    names = sorted({answer.profile for turn in votes for answer in turn.answers})
    standings = [_standing(name, votes) for name in names]
    if len(names) >= STRENGTHS_FROM:
        standings = _with_strengths(standings, votes, rounds, seed)
    standings = sorted(standings, key=_rank)
    ranked = [standing.profile for standing in standings]
    return Leaderboard(
        votes=len(votes),
        standings=tuple(standings),
        pairs=tuple(pair for a, b in combinations(ranked, 2) if (pair := _pair(a, b, votes))),
        excluded=exclusions(turns),
        bootstrap_rounds=rounds if len(names) >= STRENGTHS_FROM else 0,
        bootstrap_seed=seed,
        notes=_notes(standings),
    )


def _standing(name: str, votes: Sequence[BlindTurn]) -> Standing:
    own = [turn for turn in votes if name in _names(turn)]
    wins = sum(_winner(turn) == name for turn in own)
    ties, both_bad = (sum(turn.verdict == kind for turn in own) for kind in ("tie", "both bad"))
    return Standing(
        profile=name,
        votes=len(own),
        wins=wins,
        losses=len(own) - wins - ties - both_bad,
        ties=ties,
        both_bad=both_bad,
        score_share=(wins + (ties + both_bad) / 2) / len(own),
    )


def _with_strengths(
    standings: Sequence[Standing], votes: Sequence[BlindTurn], rounds: int, seed: int
) -> list[Standing]:
    number = {standing.profile: index for index, standing in enumerate(standings)}
    games = [_game(turn, number) for turn in votes]
    found = bradley_terry.strengths(len(standings), bradley_terry.scores_of(games))
    bounds = bradley_terry.intervals(len(standings), games, rounds=rounds, seed=seed)
    return [
        _with_strength(standing, elo, interval)
        for standing, elo, interval in zip(standings, found.elo, bounds, strict=True)
    ]


def _with_strength(standing: Standing, elo: float | None, interval: Interval | None) -> Standing:
    if elo is None:
        return replace(standing, remark=ALONE)
    if math.isinf(elo):
        return replace(standing, remark=UNBEATEN if elo > 0 else NEVER_AHEAD)
    low, high = (interval.low, interval.high) if interval else (-math.inf, math.inf)
    return replace(standing, elo=elo, elo_low=_finite(low), elo_high=_finite(high))


def _game(turn: BlindTurn, number: Mapping[str, int]) -> Game:
    a, b = _names(turn)
    return number[a], number[b], _SCORES[turn.verdict or "tie"]


def _pair(a: str, b: str, votes: Sequence[BlindTurn]) -> Pair | None:
    own = [turn for turn in votes if set(_names(turn)) == {a, b}]
    if not own:
        return None
    a_wins, b_wins = (sum(_winner(turn) == name for turn in own) for name in (a, b))
    low, high = binomial.share_interval(a_wins, b_wins)
    return Pair(
        a=a,
        b=b,
        a_wins=a_wins,
        b_wins=b_wins,
        ties=sum(turn.verdict == "tie" for turn in own),
        both_bad=sum(turn.verdict == "both bad" for turn in own),
        p_value=binomial.two_sided_p(a_wins, b_wins),
        a_share=a_wins / (a_wins + b_wins) if a_wins + b_wins else None,
        a_share_low=low,
        a_share_high=high,
    )


def _notes(standings: Sequence[Standing]) -> tuple[str, ...]:
    """Why a strength is missing, for those who have none."""
    return tuple(f"{s.profile}: {s.remark}: {_WHY_NONE[s.remark]}" for s in standings if s.remark)


def _names(turn: BlindTurn) -> tuple[str, str]:
    return turn.answers[0].profile, turn.answers[1].profile


def _winner(turn: BlindTurn) -> str | None:
    if turn.verdict not in {"a", "b"}:
        return None
    return _names(turn)[0 if turn.verdict == "a" else 1]


def _rank(standing: Standing) -> tuple[float, float, str]:
    """The strongest first; who has no strength stands by its share, between the unbeaten and the winless."""
    outside = {UNBEATEN: -1.0, ALONE: 1.0, NEVER_AHEAD: 2.0}.get(standing.remark, 0.0)
    strength = standing.elo if standing.elo is not None else standing.score_share
    return outside, -strength, standing.profile


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
