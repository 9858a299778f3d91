"""A test as a gate: what keeps it shut, and the same as JUnit XML. Pure.

A gate opens only for what is shown: a limit is kept where the whole 95 % interval keeps to it.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import asdict

from engine.jobs.junit import Case, failed, xml
from engine.testing.report import Report, Row
from engine.testing.text import difference_text, questions_line, share_text


class Limits(Struct, frozen=True, kw_only=True):
    """What models must keep to; None is no limit."""

    min_accuracy: float | None = None
    """Of every model but A, in per cent."""
    max_drop: float | None = None
    """Of the accuracy against A's, in percentage points."""


def shut_by(report: Report, limits: Limits) -> list[str]:
    """A line for each model that is not shown to keep to the limits."""
    return [f"{case.name}: {case.text}" for case in _cases(report, limits) if case.outcome != "passed"]


def junit(report: Report, limits: Limits) -> str:
    """The gate as JUnit XML: a test case a model and limit, and one of A where it could not answer."""
    facts = {
        "A": report.rows[0].profile,
        "questions": questions_line(report),
        "machine": report.hardware,
        "versions": ", ".join(f"{name} {version}" for name, version in report.versions.items()),
        **{name: f"{value:g}" for name, value in asdict(limits).items() if value is not None},
    }
    return xml("quantduel test", facts, list(_cases(report, limits)))


def _cases(report: Report, limits: Limits) -> Iterator[Case]:
    first, *others = report.rows
    if first.error:
        yield failed(first.profile, "test", first.error)
    for row in others:
        if row.error:
            yield failed(row.profile, "test", row.error)
        elif not row.complete or row.accuracy is None:
            yield Case(
                name=row.profile, kind="test", outcome="failure", type="not finished", text="not finished"
            )
        else:
            yield from _limits(row, limits)


def _limits(row: Row, limits: Limits) -> Iterator[Case]:
    share, drop = row.accuracy, None if row.difference_low is None else -row.difference_low
    if limits.min_accuracy is not None and share:
        text = f"{share_text(share)} right, at least {limits.min_accuracy:g} % wanted"
        yield _case(row, "accuracy", text, share.low >= limits.min_accuracy, share.high < limits.min_accuracy)
    if limits.max_drop is not None and drop is not None and row.difference_high is not None:
        text = f"{difference_text(row)} against A, a drop of at most {limits.max_drop:g} points wanted"
        yield _case(row, "drop", text, drop <= limits.max_drop, -row.difference_high > limits.max_drop)


def _case(row: Row, kind: str, text: str, is_kept: bool, is_broken: bool) -> Case:
    if is_kept:
        return Case(name=row.profile, kind=kind, outcome="passed", text=text)
    decision = "over the limit" if is_broken else "undecided: more questions would narrow the interval"
    return Case(
        name=row.profile,
        kind=kind,
        outcome="failure",
        type=decision.partition(":")[0],
        text=f"{text}: {decision}",
    )
