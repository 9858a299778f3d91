"""Many requests at once in words: a row for reading and for machines, the settings, and the plot."""

from engine.bench.document import Document
from engine.bench.plan import Settings
from engine.bench.rows import Latency, Row
from engine.jobs.plot import Plot, Point
from engine.tables import Cell
from engine.units import MISSING, digits


def cells(row: Row) -> dict[str, Cell]:
    """A row for reading; a level that failed has its remark alone."""
    many = row.many
    speeds, total = (many.request_tok_s, many.total_tok_s) if many else (None, None)
    return {
        "profile": row.profile,
        "method": row.label,
        "context": row.context,
        "at once": row.at_once,
        "total tok/s": MISSING if total is None else digits(total, 4),
        "tok/s each p50, p5": f"{digits(speeds.p50)}, {digits(speeds.p5)}" if speeds else MISSING,
        "TTFT p50, p95 ms": _latency(many.ttft_ms if many else None),
        "ITL p50, p95 ms": _latency(row.itl_ms),
        "answers": f"{many.requests - many.failed} of {many.requests}" if many else MISSING,
        "remarks": row.error.message if row.error else ", ".join(row.marks),
    }


def numbers(row: Row) -> dict[str, Cell]:
    """The same for machines; empty where requests came one after the other."""
    many = row.many
    ttft, speeds = (many.ttft_ms, many.request_tok_s) if many else (None, None)
    return {
        "at_once": row.at_once,
        "requests": many.requests if many else None,
        "failed": many.failed if many else None,
        "total_tok_s": many.total_tok_s if many else None,
        "request_tok_s_p50": speeds.p50 if speeds else None,
        "request_tok_s_p5": speeds.p5 if speeds else None,
        "ttft_p50_ms": ttft.p50 if ttft else None,
        "ttft_p95_ms": ttft.p95 if ttft else None,
        "client_cpu_share": many.client_cpu_share if many else None,
        "client_late_ms": many.client_late_ms if many else None,
    }


def how(settings: Settings) -> str:
    """What every level is, in a line."""
    least = settings.requests
    return (
        f"prompts of `context` tokens, no two alike, {settings.steps} greedy tokens each; `at once` requests "
        f"under way, in all twice as many, or {least} where that is more; total tok/s is of all answers, "
        "from the first request to the last token"
    )


def plots(document: Document) -> tuple[Plot, ...]:
    """All tokens a second over how many requests are under way: a line a profile, a picture a context."""
    found = []
    for context in document.header.settings.contexts:
        points = tuple(
            Point(row.profile, float(row.at_once), row.many.total_tok_s)
            for row in document.rows
            if row.context == context and row.many and row.many.total_tok_s
        )
        title = f"total tok/s after {context} tokens"
        found.append(Plot(title=title, x_name="requests at once", points=points, is_series=True))
    return tuple(found)


def _latency(found: Latency | None) -> str:
    return f"{digits(found.p50)}, {digits(found.p95)}" if found else MISSING
