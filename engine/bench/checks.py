"""The bench's check of itself: what other scripts get wrong, looked for in this run's own rows.

Pure. Four traps: a polluted first row, decoding without the context, a peak that is never reset, a prefill
inside the decode's time.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from engine.bench.plan import Settings
from engine.bench.rows import Figure, Row

Verdict = Literal["passed", "failed", "unclear"]
SIGMAS = 3.0
TOLERANCE = 0.1  # of a speed, on top of its spread: how much a machine itself varies between two moments
SLACK_BYTES = 4 << 20  # between two looks at the same memory


class Check(Struct, frozen=True):
    """One check of the rows."""

    name: str
    verdict: Verdict
    detail: str


def checks(settings: Settings, rows: Sequence[Row], reversed_rows: Sequence[Row]) -> tuple[Check, ...]:
    """All checks, on rows and on the same rows measured again in reversed order."""
    good = [row for row in rows if row.error is None]
    again = {(row.profile, row.shape): row for row in reversed_rows if row.error is None}
    pairs = [(row, again[key]) for row in good if (key := (row.profile, row.shape)) in again]
    everything = [row for row in (*good, *again.values()) if not row.served]  # which shows none of these
    return (
        _order(pairs),
        _context(settings, everything),
        _check("the peak is reset", everything, _peak_faults),
        _check("no prefill inside decode", everything, _stamp_faults),
    )


def differ(a: Figure, b: Figure) -> bool:
    """Whether two figures are further apart than their spread and the tolerance explain."""
    spread = math.hypot(*((figure.stdev or 0) / math.sqrt(len(figure.samples)) for figure in (a, b)))
    return abs(a.mean - b.mean) > SIGMAS * spread + TOLERANCE * max(a.mean, b.mean)


def _order(pairs: Sequence[tuple[Row, Row]]) -> Check:
    """In reversed order the first row comes last: were it polluted, its figures would change."""
    name = "order changes nothing"
    found = [(row, again, word) for row, again in pairs for word in _differences(row, again)]
    if not pairs:
        return Check(name, "unclear", "no row was measured twice")
    if not found:
        return Check(name, "passed", f"{_rows(len(pairs))}, in both orders")
    excused = all(row.marks or again.marks for row, again, _ in found)
    words = "; ".join(f"{_place(row)}: {word}" for row, _, word in found)
    return Check(name, "unclear" if excused else "failed", words + (" (marked)" if excused else ""))


def _differences(row: Row, again: Row) -> Iterator[str]:
    for name in ("prefill_tok_s", "decode_tok_s"):
        a, b = getattr(row, name), getattr(again, name)
        if a and b and differ(a, b):
            yield f"{name} {a.mean:.4g}, in reverse {b.mean:.4g}"


def _context(settings: Settings, rows: Sequence[Row]) -> Check:
    """Every token is in the cache that is decoded with; and how the time of a step grows with it."""
    check = _check("decode uses its context", rows, lambda row: _context_faults(settings, row))
    growth = [line for name in dict.fromkeys(row.profile for row in rows) if (line := _growth(name, rows))]
    return check if check.verdict != "passed" else replace(check, detail="; ".join((check.detail, *growth)))


def _growth(name: str, rows: Sequence[Row]) -> str:
    """The median time between tokens after the shortest and the longest context, in the smallest batch."""
    own = [row for row in rows if row.profile == name]
    times_ms: dict[int, list[float]] = {}
    for row in own:
        if row.itl_ms and row.batch == min(row.batch for row in own):
            times_ms.setdefault(row.context, []).append(row.itl_ms.p50)
    if len(times_ms) < 2:
        return ""
    shortest, longest = min(times_ms), max(times_ms)
    return (
        f"{name}: {fmean(times_ms[shortest]):.2f} ms a token after {shortest}, "
        f"{fmean(times_ms[longest]):.2f} after {longest}"
    )


def _check(name: str, rows: Sequence[Row], faults: Callable[[Row], str]) -> Check:
    if not rows:
        return Check(name, "unclear", "no row was measured")
    found = [f"{_place(row)}: {fault}" for row in rows if (fault := faults(row))]
    return Check(name, "failed", "; ".join(found)) if found else Check(name, "passed", _rows(len(rows)))


def _context_faults(settings: Settings, row: Row) -> str:
    """The cache must have grown by every token but the last, which nobody reads."""
    run = settings.run(row.shape)
    expected = run.depth + run.context + run.steps - 1
    cached = row.evidence.cached_tokens if row.evidence else ()
    return "" if cached and set(cached) == {expected} else f"{cached} tokens cached, not {expected}"


def _peak_faults(row: Row) -> str:
    evidence = row.evidence
    if evidence is None or evidence.peak_at_reset_bytes is None or evidence.in_use_at_reset_bytes is None:
        return "no peak was taken"
    excess = evidence.peak_at_reset_bytes - evidence.in_use_at_reset_bytes
    return f"{excess} bytes above what was in use when it began" if excess > SLACK_BYTES else ""


def _stamp_faults(row: Row) -> str:
    for stamps in row.stamps:
        order = (0, *([] if (ns := stamps.prefilled_ns) is None else [ns]), *stamps.token_ns)
        if list(order) != sorted(set(order)) or len(stamps.token_ns) < 2:
            return f"stamps out of order: {order[:4]} …"
    return "" if row.stamps else "no stamps"


def _place(row: Row) -> str:
    return f"{row.profile} {row.context}×{row.batch}"


def _rows(count: int) -> str:
    return f"{count} {'row' if count == 1 else 'rows'}"
