"""A plan as text on stdout: the ledger, the rule of thumb beside it, the verdict, and the check."""

from collections.abc import Iterable, Sequence

from engine import tables
from engine.cli.terminal import Styled, say, say_lines
from engine.plan.terms import Plan, Term, total
from engine.session.plan_check import Checked
from engine.units import bytes_text

COLOURS = {"fits": "green", "tight": "yellow", "does not fit": "red"}
NAME_WIDTH, SIZE_WIDTH = 32, 12


def show(found: Plan) -> None:
    """Every term, then what they add up to."""
    head = f"{found.profile}  ({found.label}, {found.dtype}, {found.device}; {found.origin})"
    say(Styled(head, bold=True))
    _group(f"Weights, {found.parameters / 1e6:,.1f} M parameters", found.weights)
    _group(f"KV cache, context {found.context} × batch {found.batch}", found.kv_cache)
    _group("Activations, at most", found.activations)
    _group("Beside the model", found.runtime)
    _line("Answering", found.running_bytes, "all of the above", bold=True)
    _group("Peak while loading", found.loading)
    if found.quantizing:
        _group("Peak while quantizing (once, in the host's memory)", found.quantizing)
    _line("Rule of thumb", found.rule_of_thumb.bytes, found.rule_of_thumb.text)
    _line("", None, found.rule_of_thumb.difference)
    say()
    _verdict(found)
    say()


def verdict_text(found: Plan) -> str:
    """`fits: 1.20 GiB needed for loading, 21.44 GiB free on cpu`."""
    room = found.room
    limited = f", by {room.limited_by}" if room.limited_by else ""
    return (
        f"{found.verdict}: {bytes_text(found.needed_bytes)} needed for {found.needed_for}, "
        f"{bytes_text(room.free_bytes)} free on {room.device}{limited}"
    )


def _verdict(found: Plan) -> None:
    say(Styled(verdict_text(found), bold=True, colour=COLOURS[found.verdict]))
    for note in found.notes:
        say(f"  {note}")
    if found.verdict != "does not fit":
        return
    if not found.would_fit:
        say("  nothing smaller of this model is known here: another model, device or machine is needed")
    for each in found.would_fit:
        say(f"  would fit: {each.what}, {bytes_text(each.needs_bytes)} needed")


def _group(title: str, terms: Iterable[Term]) -> None:
    listed = list(terms)
    _line(title, total(listed), bold=True)
    for term in listed:
        _line(f"  {term.name}", term.bytes, term.origin)


def _line(name: str, size: int | None, origin: str = "", *, bold: bool = False) -> None:
    amount = bytes_text(size) if size is not None else ""
    text = f"{name:<{NAME_WIDTH}} {amount:>{SIZE_WIDTH}}"
    quiet = ("  ", Styled(origin, dim=True)) if origin else ()
    say(Styled(text if origin else text.rstrip(), bold=bold), *quiet)


def show_check(rows: Sequence[Checked]) -> None:
    """Estimate, actual and error of each figure, a line a profile."""
    say_lines(tables.table([_row(row) for row in rows]))
    for row in rows:
        if row.failure:
            say(f"{row.profile}: {row.failure}", err=True)


def _row(row: Checked) -> tables.Row:
    cells: dict[str, tables.Cell] = {"profile": row.profile}
    for name, title in (("weights", "weights"), ("kv_cache", "KV cache"), ("load_peak", "load peak")):
        estimate = getattr(row.estimate, f"{name}_bytes")
        actual = getattr(row.actual, f"{name}_bytes") if row.actual else None
        cells[title] = f"{bytes_text(estimate)} : {bytes_text(actual)}"
        cells[f"{title} error"] = error_text(estimate, actual)
    return cells


def error_text(estimate: int, actual: int | None) -> str | None:
    """`+1.2 %`: the estimate against the actual figure; `exact` where they are equal."""
    if not actual:
        return None
    return "exact" if estimate == actual else f"{100 * (estimate / actual - 1):+.1f} %"
