"""An evaluation as a gate: what keeps it shut, and the same as JUnit XML, for checks that nobody watches.

Pure. A gate opens only for what is shown to be good enough: what error bars leave undecided keeps it shut.
"""

from msgspec import Struct
from msgspec.structs import asdict

from engine.evaluation.baseline import Baseline
from engine.evaluation.report import Report, Row
from engine.evaluation.verdicts import Judged, judged
from engine.jobs.junit import Case, failed, xml
from engine.protocol.failure import Failure
from engine.stats.verdict import GOOD, Limits


class Gate(Struct, frozen=True):
    """What candidates are held against, besides the reference."""

    limits: Limits = GOOD
    baseline: Baseline | None = None
    with_noise: bool = False
    """Measure the noise floor first, and refuse limits below it."""


def shut_by(report: Report) -> list[str]:
    """A line for each candidate that is not shown to keep to the limits, or is worse than it was."""
    found = {each.profile: each for each in judged(report)}
    lines = [_fault(row, found.get(row.profile)) for row in report.candidates]
    worse = [f"{change.profile}: {change.line}" for change in report.changes if change.trend == "worse"]
    return [line for line in lines if line] + worse


def junit(report: Report, failure: Failure | None = None) -> str:
    """The gate as JUnit XML: a test case a candidate and, with a baseline, one more.

    One of the reference where it, or the text, could not be read; `failure` is why the whole run failed.
    """
    reference, why = report.reference, report.reference.error or failure
    cases = [failed(reference.profile, "limits", why)] if why else []
    cases += [_case(row, report) for row in report.candidates]
    cases += [
        Case(
            name=change.profile,
            kind="baseline",
            outcome="failure" if change.trend == "worse" else "passed",
            type=change.trend,
            text=change.line,
        )
        for change in report.changes
    ]
    return xml("quantduel eval", _facts(report), cases)


def _fault(row: Row, found: Judged | None) -> str:
    if row.error or found is None or not row.complete:
        return f"{row.profile}: {row.error.message if row.error else 'not finished'}"
    return "" if found.decision == "good enough" else f"{row.profile}: {found.text}"


def _case(row: Row, report: Report) -> Case:
    found = next((each for each in judged(report) if each.profile == row.profile), None)
    if row.error:
        return failed(row.profile, "limits", row.error)
    fault = _fault(row, found)
    return Case(
        name=row.profile,
        kind="limits",
        outcome="failure" if fault else "passed",
        type=found.decision if found and row.complete else "not finished",
        text=found.text if found else fault,
    )


def _facts(report: Report) -> dict[str, str]:
    limits = {name: value for name, value in asdict(report.limits).items() if value is not None}
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return {
        "reference": report.reference.profile,
        "convention": report.convention.line if report.convention else "",
        "machine": report.hardware,
        "versions": versions,
        **{name: f"{value:g}" for name, value in limits.items()},
    }
