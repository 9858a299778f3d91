"""An eval in words: what holds for all rows, a row for reading and for machines, the remarks.

Rows for reading rank the candidates; the others are in the order they were named.
"""

import math
from collections.abc import Iterator

import msgspec

from engine.evaluation import noise, speed
from engine.evaluation.report import Report, Row
from engine.evaluation.settings import LAYER_WINDOWS
from engine.evaluation.verdicts import Judged, judged, pick_text, picked
from engine.jobs.plot import Plot, Point
from engine.jobs.sheet import Sheet
from engine.stats import energy
from engine.stats.fidelity import Kld
from engine.stats.margins import Margins
from engine.tables import Cell
from engine.units import MIB, MISSING, bytes_text, digits, with_error

UNITS = "KLD in nats, against the reference; same top: the same likeliest token; Δp: of the text's own token"
MARGINS = "margins kept: median of the reference's between its first two choices; lost: those below the noise"
LAYERS = f"one layer alone, the first {LAYER_WINDOWS} windows"
DEPTHS = "by depth"
BAR = 24  # characters of the longest bar
EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
PARETO = "★"
PARETO_MEANS = f"{PARETO} no other model here is at least as near, as fast and as small"
WITHOUT_SPEED = ", speeds left out that cannot be told"
NUMBERS = (
    "tokens",
    "perplexity",
    "perplexity_stderr",
    "perplexity_ratio",
    "perplexity_ratio_stderr",
    "same_top",
    "same_top_stderr",
    "rms_dp",
    "rms_dp_stderr",
    "mean_dp",
    "mean_dp_stderr",
    "weights_bytes",
    "decode_tok_s",
    "joules_per_token",
    "mean_watts",
    "read_tok_s",
    "complete",
    "kld_is_bound",
    "kld_top_k",
    "kld_tail",
)
"""Of a row, as machines read them."""


def sheet(report: Report) -> Sheet:
    """The report, ready to be written."""
    rows = (report.reference, *report.candidates)
    is_begun = report.convention is not None or any(row.tokens for row in rows)
    return Sheet(
        above=heading(report) if is_begun else (),
        rows=readable(report) if is_begun else (),
        more={name: rows for row in report.candidates for name, rows in _tables(row)},
        below=remarks(report),
        verdicts=[*verdict_lines(report), *pick_lines(report)],
        title=title(report),
        plots=plots(report),
        settings=report.settings,
        numbers=[numbers(row, report) for row in rows],
        records=[_record(row, report) for row in rows],
        document=_document(report),
    )


def _tables(row: Row) -> Iterator[tuple[str, list[dict[str, Cell]]]]:
    """Further tables of a candidate, by what they show."""
    if row.depths:
        yield f"{DEPTHS}: {row.profile}", depth_rows(row)
    if row.layers:
        yield f"{LAYERS}: {row.profile}", layer_rows(row)


def readable(report: Report) -> list[dict[str, Cell]]:
    """The reference, then the candidates, the nearest first."""
    found = {each.profile: each for each in judged(report)}
    has_joules = any(row.joules_per_token for row in (report.reference, *report.candidates))
    candidates = (cells(row, found.get(row.profile), with_energy=has_joules) for row in report.ranked)
    return [cells(report.reference, is_reference=True, with_energy=has_joules), *candidates]


def title(report: Report) -> str:
    """`smollm2-int8, smollm2-nf4 against smollm2-bf16`."""
    return f"{', '.join(row.profile for row in report.candidates)} against {report.reference.profile}"


def plots(report: Report) -> list[Plot]:
    """KLD against size and against speed."""
    sizes = [_point(row, row.weights_bytes and row.weights_bytes / MIB) for row in report.candidates]
    speeds = [_point(row, row.decode_tok_s) for row in report.candidates]
    return [
        Plot(title="KLD, nats, against weights", x_name="MiB", points=tuple(filter(None, sizes))),
        Plot(title="KLD, nats, against decode", x_name="tok/s", points=tuple(filter(None, speeds))),
        *(plot for row in report.candidates if (plot := _depth_plot(row)).points),
        *(_layer_plot(row) for row in report.candidates if row.layers),
    ]


def layer_rows(row: Row) -> list[dict[str, Cell]]:
    """A row a layer, with a bar as long as its share of the largest KLD."""
    largest = max(layer.kld.mean for layer in row.layers)
    return [
        {
            "layer": layer.index,
            "KLD": f"{row.kld_sign}{with_error(layer.kld.mean, layer.kld.stderr)}",
            "": bar(layer.kld.mean / largest if largest > 0 else 0.0),
            "same top": with_error(layer.same_top, layer.same_top_stderr, " %"),
        }
        for layer in row.layers
    ]


def depth_rows(row: Row) -> list[dict[str, Cell]]:
    """A row a bucket, with a bar as long as its share of the largest KLD."""
    largest = max((depth.kld.mean for depth in row.depths if depth.kld), default=0.0)
    return [
        {
            "tokens before": depth.name,
            "positions": depth.tokens,
            "KLD": f"{row.kld_sign}{with_error(depth.kld.mean, depth.kld.stderr)}" if depth.kld else MISSING,
            "": bar(depth.kld.mean / largest if depth.kld and largest > 0 else 0.0),
            "same top": with_error(depth.same_top, depth.same_top_stderr, " %"),
            "ratio": with_error(depth.perplexity_ratio, depth.perplexity_ratio_stderr),
        }
        for depth in row.depths
    ]


def bar(share: float) -> str:
    """A bar of eighths of a character, BAR characters for 1."""
    eighths = round(share * BAR * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8]


def _depth_plot(row: Row) -> Plot:
    """Each bucket at the middle of its depths."""
    known = [(depth, depth.kld) for depth in row.depths if depth.kld and 0 < depth.kld.mean < math.inf]
    points = (Point("", (depth.first + depth.last) / 2, kld.mean, kld.stderr) for depth, kld in known)
    return Plot(
        title=f"KLD, nats, by depth of {row.kld_sign}{row.profile}",
        x_name="tokens before",
        points=tuple(points),
    )


def _layer_plot(row: Row) -> Plot:
    points = (Point("", layer.index, layer.kld.mean, layer.kld.stderr) for layer in row.layers)
    found = tuple(point for point in points if 0 < point.y < math.inf)
    return Plot(title=f"KLD, nats, of one layer of {row.kld_sign}{row.profile}", x_name="layer", points=found)


def _point(row: Row, x: float | None) -> Point | None:
    if x is None or row.kld is None or not 0 < row.kld.mean < math.inf:
        return None
    return Point(f"{row.kld_sign}{row.profile}", x, row.kld.mean, row.kld.stderr)


def verdict_lines(report: Report) -> list[str]:
    """A sentence a candidate; what became of it since the baseline."""
    changes = (f"{change.profile}: {change.line}" for change in report.changes)
    return [*changes, *(f"{each.profile}: {each.text}" for each in judged(report))]


def pick_lines(report: Report) -> Iterator[str]:
    """The choice between several, once all are measured."""
    rows = report.candidates
    best = picked(report) if all(row.complete or row.error for row in rows) else None
    if best and len(rows) > 1:
        yield pick_text(best, report)


def heading(report: Report) -> list[str]:
    """What holds for all rows: machine, versions, convention, units."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return [line for line in (report.hardware, versions, *facts(report), UNITS, MARGINS) if line]


def facts(report: Report) -> list[str]:
    """The convention, and what the star means where a row has one."""
    convention = [report.convention.line] if report.convention else []
    if not any(each.pareto for each in judged(report)):
        return convention
    is_partly = any(speed.doubt(row) for row in (report.reference, *report.candidates))
    return [*convention, PARETO_MEANS + (WITHOUT_SPEED if is_partly else "")]


def remarks(report: Report) -> list[str]:
    """What the reader of the figures should know; what holds for all rows is said once."""
    rows = (report.reference, *report.candidates)
    owners: dict[str, list[str]] = {}
    for row in rows:
        for note in _notes(row, report):
            owners.setdefault(note, []).append(row.profile)
    own = [
        note if len(names) == len(rows) else f"{', '.join(names)}: {note}" for note, names in owners.items()
    ]
    measured = report.noise and (report.noise.complete or report.noise.error)
    floor = [noise.line(report.noise)] if report.noise and measured else []
    return [*report.notes, *floor, *own, *_energy_lines(report)]


def cells(
    row: Row, found: Judged | None = None, *, is_reference: bool = False, with_energy: bool = False
) -> dict[str, Cell]:
    """A row for reading."""
    kld = row.kld
    joules: dict[str, Cell] = {energy.JOULES: _energy_text(row, row.joules_per_token)}
    joules[energy.WATTS] = _energy_text(row, row.mean_watts)
    star = f" {PARETO}" if found and found.pareto else ""
    return {
        "profile": f"{row.profile} (reference)" if is_reference else row.profile,
        "method": row.label,
        "verdict": found.headline + star if found else MISSING,
        "KLD": f"{row.kld_sign}{with_error(kld.mean, kld.stderr)}" if kld else MISSING,
        "p50, p95, p99": f"{row.kld_sign}{kld.p50:.3g}, {kld.p95:.3g}, {kld.p99:.3g}" if kld else MISSING,
        "max": f"{row.kld_sign}{kld.max:.3g}" if kld else MISSING,
        "same top": with_error(row.same_top, row.same_top_stderr, " %"),
        "RMS Δp": with_error(row.rms_dp, row.rms_dp_stderr, " %"),
        "margins kept": _margins_text(row.margins),
        "perplexity": with_error(row.perplexity, row.perplexity_stderr),
        "ratio": with_error(row.perplexity_ratio, row.perplexity_ratio_stderr),
        "weights": bytes_text(row.weights_bytes),
        "decode tok/s": _decode_text(row),
        **(joules if with_energy else {}),
        "read tok/s": _speed(row.read_tok_s),
    }


def _margins_text(found: Margins | None) -> str:
    """`0.98, 1.2 % lost`."""
    return f"{found.kept:.2f}, {found.lost:.1f} % lost" if found else MISSING


def numbers(row: Row, report: Report) -> dict[str, Cell]:
    """A row for machines that cannot read JSON."""
    found = _verdict_on(row, report)
    klds = {f"kld_{name}": getattr(row.kld, name) if row.kld else None for name in Kld.__struct_fields__}
    margins = {
        f"margins_{name}": getattr(row.margins, name) if row.margins else None
        for name in Margins.__struct_fields__
    }
    return {
        "profile": row.profile,
        "label": row.label,
        "kernel": row.kernel,
        "verdict": found.decision if found else None,
        "grade": found.verdict.grade if found else None,
        "pareto": found.pareto if found else None,
        **klds,
        **margins,
        **{name: getattr(row, name) for name in NUMBERS},
        "decode_stderr_tok_s": speed.error_tok_s(row),
        "decode_marks": "; ".join(row.decode_marks),
        "error": row.error.message if row.error else "",
    }


def _decode_text(row: Row) -> str:
    """`34.1 ± 0.4`; with a `?` where the speed says nothing, which the remarks explain."""
    error = speed.error_tok_s(row)
    found = with_error(row.decode_tok_s, error) if error else _speed(row.decode_tok_s)
    return f"{found} ?" if speed.doubt(row) else found


def _energy_text(row: Row, figure: float | None) -> str:
    """`0.123`; with a `?` where the speed says nothing: the same spoils both."""
    if figure is None:
        return MISSING
    return digits(figure) + (" ?" if speed.doubt(row) else "")


def _energy_lines(report: Report) -> list[str]:
    """Each device's idle draw, and why models that were timed have no joules."""
    timed = [row for row in (report.reference, *report.candidates) if row.decode_tok_s is not None]
    counted = [row.profile for row in timed if row.joules_per_token is not None]
    return energy.lines({row.profile: (row.device, row.energy) for row in timed}, counted)


def _speed(tok_s: float | None) -> str:
    if tok_s is None:
        return MISSING
    return f"{tok_s:.0f}" if tok_s >= 99.95 else f"{tok_s:.1f}"


def _notes(row: Row, report: Report) -> Iterator[str]:
    yield from row.notes
    if why := speed.doubt(row):
        yield f"the decode speed says nothing: {why}"
    if row.error:
        yield row.error.message + (f" ({row.error.hint})" if row.error.hint else "")
    elif not row.complete and report.convention:
        yield f"not finished: {row.tokens} of {report.convention.scored_tokens} tokens scored"


def _verdict_on(row: Row, report: Report) -> Judged | None:
    return next((each for each in judged(report) if each.profile == row.profile), None)


def _record(row: Row, report: Report) -> object:
    return msgspec.to_builtins(row) | {"verdict": _verdict_on(row, report)}


def _document(report: Report) -> object:
    found = msgspec.to_builtins(report) | {"verdicts": judged(report)}
    if report.convention:
        found["convention"] |= {"name": report.convention.name, "line": report.convention.line}
    return found
