"""What an evaluation's figures mean: a sentence on each candidate, who is Pareto-optimal, which to pick.

Pure: reads a report. The rule is in `engine.stats.verdict`; how a report is shown is the business of `text`.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from engine.evaluation.report import Report, Row
from engine.stats.verdict import Decision, Verdict, verdict
from engine.stats.verdict_text import headline, sentence

SAME_SPEED = 0.95  # of the fastest: a short answer's speed is not known more exactly


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
    """The models that no other one beats by KLD, decode speed and bytes; the first one is the reference."""
    measured = [row for row in rows[1:] if row.kld]
    is_mixed = len({row.kld_top_k for row in measured}) > 1  # a bound is not to be held against a figure
    points = {
        row.profile: None if is_mixed and row.kld_is_bound else _point(row, is_reference=not place)
        for place, row in enumerate(rows)
    }
    known = [point for point in points.values() if point]
    return {
        name for name, point in points.items() if point and not any(_beats(each, point) for each in known)
    }


def picked(report: Report) -> Row | None:
    """The fastest candidate that is good enough, of those as fast the nearest; None where none is."""
    found = {each.profile for each in judged(report) if each.decision == "good enough"}
    rows = [row for row in report.candidates if row.profile in found and row.complete]
    fastest = max((row.decode_tok_s or 0.0 for row in rows), default=0.0)
    return min(
        (row for row in rows if (row.decode_tok_s or 0.0) >= SAME_SPEED * fastest),
        key=_distance,
        default=None,
    )


def pick_text(profile: str, tried: int) -> str:
    """The choice in a sentence."""
    return f"pick: {profile}, the fastest that is good enough of {tried} that were tried"


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
    if row.decode_tok_s and reference.decode_tok_s:
        yield f"{row.decode_tok_s / reference.decode_tok_s:.2g} × the decode speed"
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


def _point(row: Row, *, is_reference: bool) -> tuple[float, float, float] | None:
    """KLD, seconds a token, bytes: less is better; None for what has no place among them."""
    kld = row.kld.mean if row.kld else None
    if is_reference:
        kld = 0.0
    if kld is None or row.weights_bytes is None:
        return None
    return kld, 1 / row.decode_tok_s if row.decode_tok_s else 0.0, row.weights_bytes


def _beats(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
