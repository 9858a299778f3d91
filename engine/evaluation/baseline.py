"""A kept run as the baseline of a new one: who is nearer to the reference now, and who farther.

Owns the reading of the file, which may be anybody's, and what makes two runs comparable. Both runs read the
same text, so their scatter is not independent; taken as if it were, a difference is overlooked rather than
made up.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from engine import input_files
from engine.errors import FileError, InputError
from engine.evaluation.report import Change, Report, Row, Trend
from engine.evaluation.settings import Convention, Settings, text_name
from engine.protocol.failure import Failed
from engine.stats.fidelity import Kld
from engine.stats.verdict import Z95

MOST_BYTES = 16 << 20
SAME_MODEL = 0.005
"""Of a perplexity over `ENOUGH` positions. The demo's in bf16 and in float32 differ by 0.001 over so many."""
ENOUGH = 2048


class _Kept(Struct):
    """What of a JSON report counts here; the rest may be of any version."""

    convention: Convention
    reference: "_KeptRow"
    candidates: tuple["_KeptRow", ...]


class _KeptRow(Struct):
    profile: str
    perplexity: float | None = None
    kld: Kld | None = None
    kld_top_k: int | None = None
    """None in reports of versions that did not say."""
    complete: bool = True


class Baseline(Struct, frozen=True):
    """A run's figures that a new one is held against."""

    convention: Convention
    reference: str
    klds: dict[str, Kld]
    """Of the candidates that had read the whole text."""
    top_ks: dict[str, int] = {}
    """How many likeliest tokens were compared; 0 is all."""
    perplexity: float | None = None
    """The reference's, where it had read the whole text."""


def read(file: Path) -> Baseline:
    """The baseline in a file that `quantduel eval --out FILE.json` wrote; FileError where it is none."""
    content = input_files.read(file, MOST_BYTES)
    try:
        kept = msgspec.json.decode(content, type=_Kept)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(file, f"not a JSON report of an eval: {error}") from error
    rows = [row for row in kept.candidates if row.complete]
    klds = {row.profile: row.kld for row in rows if row.kld}
    as_asked = kept.convention.top_k
    top_ks = {row.profile: as_asked if row.kld_top_k is None else row.kld_top_k for row in rows if row.kld}
    reference = kept.reference
    perplexity = reference.perplexity if reference.complete else None
    return Baseline(kept.convention, reference.profile, klds, top_ks, perplexity)


def require_comparable(baseline: Baseline, settings: Settings) -> None:
    """InputError where a run with these settings cannot be held against the baseline."""
    kept = baseline.convention
    for name, then, now in (
        ("--text", kept.text, text_name(settings.text)),
        ("--window", kept.window, settings.window),
        ("--stride", kept.stride, settings.step),
        ("--scored", kept.scored, settings.scored),
        ("--top-k", kept.top_k, settings.top_k),
        ("the reference", baseline.reference, settings.profiles[0].name),
    ):
        if then != now:
            raise InputError(
                f"--baseline: {name} was {then} there and is {now} here", "run it with the same settings"
            )
    if baseline.klds.keys().isdisjoint(profile.name for profile in settings.profiles[1:]):
        found = ", ".join(baseline.klds) or "none that was measured"
        raise InputError(
            f"--baseline: no candidate of this run is in it; it has {found}", "name one of these"
        )
    if settings.tokens is not None and settings.tokens < kept.tokens:
        raise InputError(
            f"--baseline: {kept.tokens} tokens there, {settings.tokens} here", "run it with the same settings"
        )


def refusal(baseline: Baseline, convention: Convention) -> Failed | None:
    """Why a run that has tokenized the text so is not held against the baseline; None where it is."""
    kept = baseline.convention
    if convention.is_like(kept):
        return None
    same_length = convention.tokens == kept.tokens
    then, now = (each.line if same_length else f"{each.tokens} tokens" for each in (kept, convention))
    message = f"--baseline: {then} there, {now} here"
    if then == now:
        message = (
            f"--baseline: {convention.text} is another text here than there, or other tokens are made of it"
        )
    hint = f"--tokens {kept.tokens}" if convention.tokens > kept.tokens else "run it on the same text"
    return Failed(kind="bad_input", message=message, hint=hint)


def other_reference(baseline: Baseline, reference: Row) -> Failed | None:
    """Why a run whose reference has read the text is not held against the baseline; None where it is."""
    then, now = baseline.perplexity, reference.perplexity
    near = SAME_MODEL * max(1, math.sqrt(ENOUGH / max(1, reference.tokens)))
    if then is None or now is None or math.isclose(then, now, rel_tol=near):
        return None
    return Failed(
        kind="bad_input",
        message=f"--baseline: the reference's perplexity was {then:.4g} there and is {now:.4g} here",
        hint=f"{reference.profile} is another model than it was: make the baseline anew",
    )


def gaps(baseline: Baseline, settings: Settings) -> list[str]:
    """A note on each candidate that the baseline lacks."""
    names = [profile.name for profile in settings.profiles[1:]]
    return [
        f"{name}: not in the baseline, so compared with its limits alone"
        for name in names
        if name not in baseline.klds
    ]


def unlike(baseline: Baseline, rows: Iterable[Row]) -> Iterator[str]:
    """A note on each candidate whose KLD is a bound by another number of tokens than there."""
    for row in rows:
        then = baseline.top_ks.get(row.profile)
        if row.kld and then is not None and then != row.kld_top_k:
            now, there = (
                f"a bound by {count} tokens" if count else "exact" for count in (row.kld_top_k, then)
            )
            yield f"{row.profile}: its KLD is {now} here and {there} in the baseline: not held against it"


def changes(baseline: Baseline, report: Report) -> Iterator[Change]:
    """Every candidate that both runs have, both figures exact, or bounds by equally many tokens."""
    if report.convention is None or not report.convention.is_like(baseline.convention):
        return
    for row in report.candidates:
        then = baseline.klds.get(row.profile)
        if (
            then
            and row.kld
            and row.complete
            and row.kld_top_k == baseline.top_ks.get(row.profile, row.kld_top_k)
        ):
            yield _change(row.profile, then, row.kld)


def _change(profile: str, then: Kld, now: Kld) -> Change:
    difference, error = now.mean - then.mean, math.hypot(now.stderr, then.stderr)
    clear = abs(difference) > Z95 * error
    trend: Trend = ("worse" if difference > 0 else "better") if clear else "same"
    return Change(profile=profile, kld=now.mean, kld_then=then.mean, stderr=error, trend=trend)
