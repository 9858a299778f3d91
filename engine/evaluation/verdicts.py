"""What an evaluation's figures mean: a sentence on each candidate, who is Pareto-optimal, which to pick.

Pure: reads a report. The rule is in `engine.stats.verdict`; how a report is shown is the business of `text`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from engine.evaluation import speed
from engine.evaluation.report import Report, Row
from engine.stats.verdict import Decision, Verdict, verdict
from engine.stats.verdict_text import headline, sentence


class Judged(Struct, frozen=True, kw_only=True):
    """One candidate's verdict."""

    profile: str
    verdict: Verdict
    more_tokens: int | None
    """How many tokens more of the text would decide what is undecided; None where that cannot be said."""
    pareto: bool
    """No other model here is at least as near, as fast and as small, and better in one of these."""
    headline: str
    """`near lossless`, `good enough`, `not good enough`, `undecided`: the verdict in a word or two."""
    text: str
    """All of it in a sentence, without the profile's name."""

    @property
    def decision(self) -> Decision:
        """Whether it is good enough."""
        return self.verdict.decision


def judged(report: Report) -> tuple[Judged, ...]:
    """The verdicts on all candidates that were loaded, in the report's order."""
    best = pareto((report.reference, *report.candidates))
    return tuple(_judged(row, report, row.profile in best) for row in report.candidates if row.tokens)


def pareto(rows: Sequence[Row]) -> set[str]:
    """The models that no other one beats by KLD, decode speed and bytes; the first one is the reference.

    Speeds count as far as they can be told (`speed.is_slower`).
    """
    measured = [row for row in rows[1:] if row.kld]
    is_mixed = len({row.kld_top_k for row in measured}) > 1  # a bound is not to be held against a figure
    points = [
        None if is_mixed and row.kld_is_bound else _point(row, is_reference=not place)
        for place, row in enumerate(rows)
    ]
    known = [point for point in points if point]
    return {one.row.profile for one in known if not any(_beats(each, one) for each in known)}


def picked(report: Report) -> Row | None:
    """The nearest of those good enough that none is shown to be faster than; None where none is."""
    rows = _good_enough(report)
    fastest = (row for row in rows if not any(speed.is_slower(row, other) for other in rows))
    return min(fastest, key=_distance, default=None)


def pick_text(best: Row, report: Report) -> str:
    """The choice in a sentence."""
    why, tried = _why(_good_enough(report)), len(report.candidates)
    return f"pick: {best.profile}, {why} of {tried} that were tried"


def _good_enough(report: Report) -> list[Row]:
    found = {each.profile for each in judged(report) if each.decision == "good enough"}
    return [row for row in report.candidates if row.profile in found and row.complete]


def _why(good: Sequence[Row]) -> str:
    """What the picked one is among those that are good enough."""
    if len(good) == 1:
        return "the only one that is good enough"
    unknown = [f"{row.profile}: {speed.doubt(row) or 'not timed'}" for row in good if not speed.is_told(row)]
    if not unknown:
        return "the fastest that is good enough"
    return f"the nearest that is good enough, for not all speeds can be told ({'; '.join(unknown)}),"


def _distance(row: Row) -> tuple[float, int]:
    return row.kld.mean if row.kld else 0.0, row.weights_bytes or 0


def _judged(row: Row, report: Report, is_best: bool) -> Judged:
    found = verdict(row, report.limits)
    more = _more_tokens(found, report)
    text = sentence(row, found, report.limits)
    gains = ", ".join(_gains(row, report.reference))
    return Judged(
        profile=row.profile,
        verdict=found,
        more_tokens=more,
        pareto=is_best,
        headline=headline(found, report.limits),
        text="; ".join(part for part in (text, gains, _outlook(found, more, row.kld_is_bound)) if part),
    )


def _gains(row: Row, reference: Row) -> Iterator[str]:
    if words := speed.gain(row, reference):
        yield words
    if row.weights_bytes and reference.weights_bytes:
        yield f"{row.weights_bytes / reference.weights_bytes * 100:.0f} % of the memory for weights"


def _more_tokens(found: Verdict, report: Report) -> int | None:
    more, cut = found.more_positions, report.convention
    if found.decision != "undecided" or more is None or cut is None or not cut.scored_tokens:
        return None
    return -(-more * cut.tokens // cut.scored_tokens)


def _outlook(found: Verdict, more_tokens: int | None, is_bound: bool) -> str:
    if found.decision != "undecided" or all(check.value is None for check in found.checks):
        return ""
    if any(check.figure == "KLD" and check.outcome == "undecided" for check in found.checks) and is_bound:
        return "no text makes a lower bound a proof"
    if more_tokens is None:
        return "too close to a limit for any text to decide"
    return f"about {more_tokens} more tokens of text would decide"


class _Point(NamedTuple):
    """A model's place: less KLD and fewer bytes are better, and more speed."""

    row: Row
    kld: float
    weights_bytes: int


def _point(row: Row, *, is_reference: bool) -> _Point | None:
    """None for what has no place."""
    kld = 0.0 if is_reference else row.kld.mean if row.kld else None
    return None if kld is None or row.weights_bytes is None else _Point(row, kld, row.weights_bytes)


def _beats(one: _Point, other: _Point) -> bool:
    if one.kld > other.kld or one.weights_bytes > other.weights_bytes or speed.is_slower(one.row, other.row):
        return False
    better = one.kld < other.kld or one.weights_bytes < other.weights_bytes
    return better or speed.is_slower(other.row, one.row)
