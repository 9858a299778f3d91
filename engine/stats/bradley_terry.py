"""The Bradley–Terry model: strengths of players from the results of their games, with bootstrap intervals.

Pure numbers: knows nothing of votes or models. P(i beats j) = p_i / (p_i + p_j) (Bradley & Terry 1952), and
the strengths maximise the likelihood; a tie is half a win for both. They are shown on Elo's scale: 400 points
for odds of ten to one, 1000 on average. The maximum is finite only where no group of players is unbeaten by
the rest (Ford 1957; Hunter 2004, assumption 1): whoever stands outside such a group has an infinite strength,
or none at all where nothing connects them.
"""

import math
import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

Game = tuple[int, int, float]
"""Player, opponent, and the player's score: 1 won, 0 lost, ½ a tie."""
Scores = Mapping[tuple[int, int], float]
"""What one scored against another, over all their games."""
Vector = list[float]

ELO = 400 / math.log(10)
MEAN_ELO = 1000.0
SMALLEST_STEP = 1e-9
LONGEST_STEP = 4.0  # in log strength: Newton's first steps may be far too long
MOST_STEPS = 200  # it needs about ten


class Strengths(Struct, frozen=True, kw_only=True):
    """A strength for each player: finite, ±inf (unbeaten, winless), or None where nothing compares it."""

    elo: tuple[float | None, ...]
    core: frozenset[int]
    """The players with finite strengths."""


class Interval(Struct, frozen=True):
    """Where 95 % of the bootstrap's strengths are; an end may be infinite."""

    low: float
    high: float


def strengths(players: int, scores: Scores) -> Strengths:
    """The strengths of greatest likelihood."""
    below = [_below(player, players, scores) for player in range(players)]
    groups = [frozenset(q for q in below[p] if p in below[q]) for p in range(players)]
    core = max(groups, key=len, default=frozenset())
    if len(core) < 2:
        core = frozenset()
    fitted = dict(zip(sorted(core), _fitted(sorted(core), scores), strict=True))
    elo = [fitted[p] if p in core else _outside(p, below, core) for p in range(players)]
    return Strengths(elo=tuple(elo), core=core)


def intervals(
    players: int, games: Sequence[Game], *, rounds: int = 1000, seed: int = 0
) -> list[Interval | None]:
    """Percentile intervals over resamples of the games with replacement; None for who is in no resample."""
    draw, whole = random.Random(seed), strengths(players, scores_of(games))
    samples: list[Vector] = [[] for _ in range(players)]
    for _ in range(rounds if games else 0):
        found = strengths(players, scores_of(draw.choices(games, k=len(games))))
        shift = _shift(found, whole)
        for sample, elo in zip(samples, found.elo, strict=True):
            if elo is not None:
                sample.append(elo + shift)
    return [_interval(sorted(sample)) for sample in samples]


def scores_of(games: Sequence[Game]) -> Scores:
    """Games added up."""
    scores: dict[tuple[int, int], float] = defaultdict(float)
    for player, opponent, score in games:
        scores[player, opponent] += score
        scores[opponent, player] += 1 - score
    return scores


def _below(player: int, players: int, scores: Scores) -> set[int]:
    """Whom this player beat or held, whom those did, and so on; the player too."""
    found, waiting = {player}, [player]
    while waiting:
        one = waiting.pop()
        new = {q for q in range(players) if q not in found and scores.get((one, q), 0) > 0}
        found |= new
        waiting += new
    return found


def _outside(player: int, below: Sequence[Collection[int]], core: Collection[int]) -> float | None:
    """The strength of a player outside the core (without a core: against all others)."""
    others = core or [q for q in range(len(below)) if q != player]
    beats = any(q in below[player] for q in others)
    loses = any(player in below[q] for q in others)
    if beats == loses:
        return None
    return math.inf if beats else -math.inf


def _fitted(core: Sequence[int], scores: Scores) -> Vector:
    """Newton's method on the log-likelihood, which is concave in the logarithms of the strengths."""
    won = [[scores.get((p, q), 0.0) for q in core] for p in core]
    theta = [0.0] * len(core)
    for _ in range(MOST_STEPS):
        step = _newton_step(theta, won)
        longest = max(map(abs, step), default=0.0)
        scale = min(1.0, LONGEST_STEP / longest) if longest else 1.0
        before = _log_likelihood(theta, won)
        moved = _moved(theta, step, scale)
        while _log_likelihood(moved, won) < before and scale * longest > SMALLEST_STEP:
            scale /= 2
            moved = _moved(theta, step, scale)
        theta = moved
        if scale * longest <= SMALLEST_STEP:
            break
    mean = sum(theta) / max(1, len(theta))
    return [MEAN_ELO + ELO * (value - mean) for value in theta]


def _moved(theta: Vector, step: Vector, scale: float) -> Vector:
    return [value + scale * change for value, change in zip(theta, step, strict=True)]


def _log_likelihood(theta: Vector, won: Sequence[Vector]) -> float:
    n = range(len(theta))
    return sum(won[i][j] * _log_sigmoid(theta[i] - theta[j]) for i in n for j in n if won[i][j])


def _newton_step(theta: Vector, won: Sequence[Vector]) -> Vector:
    """The step of every player but the first, whose strength stays: only differences count."""
    n = len(theta)
    matrix = [[0.0] * n for _ in range(n)]
    gradient = [0.0] * n
    for i in range(n):
        for j in range(n):
            games = won[i][j] + won[j][i]
            expected = math.exp(_log_sigmoid(theta[i] - theta[j]))
            gradient[i] += won[i][j] - games * expected
            weight = games * expected * (1 - expected)
            matrix[i][i] += weight
            matrix[i][j] -= weight
    rows = [[*matrix[i][1:], gradient[i]] for i in range(1, n)]
    return [0.0, *_solved(rows)] if n else []


def _solved(rows: list[Vector]) -> Vector:
    """Gauss and Jordan; the matrix is positive definite, so its diagonal needs no pivoting."""
    for i, row in enumerate(rows):
        row[:] = [value / row[i] for value in row]
        for other in rows:
            if other is not row and other[i]:
                factor = other[i]
                other[:] = [value - factor * own for value, own in zip(other, row, strict=True)]
    return [row[-1] for row in rows]


def _log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def _shift(found: Strengths, whole: Strengths) -> float:
    """What puts a resample on the whole's scale: the mean difference of those finite in both."""
    pairs = [(a, b) for a, b in zip(whole.elo, found.elo, strict=True) if _is_finite(a) and _is_finite(b)]
    return sum((a or 0) - (b or 0) for a, b in pairs) / len(pairs) if pairs else 0.0


def _is_finite(elo: float | None) -> bool:
    return elo is not None and math.isfinite(elo)


def _interval(ordered: Vector) -> Interval | None:
    """The 2.5 % and 97.5 % percentiles; between two samples the outer one."""
    if not ordered:
        return None
    last = len(ordered) - 1
    return Interval(ordered[math.floor(0.025 * last)], ordered[math.ceil(0.975 * last)])
