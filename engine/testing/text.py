"""A test in words: what holds for all rows, a row for reading and for machines, the verdicts, the flips."""

from collections.abc import Iterator

import msgspec

from engine.jobs.sheet import Sheet
from engine.stats.paired import Paired
from engine.tables import Cell
from engine.testing.report import Entry, Report, Row, Share
from engine.units import MISSING

CHANCE = 0.05
LONGEST = 200  # characters of an answer next to others
UNITS = "right: with the 95 % interval (Wilson); flips: against A; p: McNemar's exact test on the flips"
BY_CHARACTER = (
    "by character: choices by log-likelihood a character (acc_norm); right has them by the whole (acc)"
)


def sheet(report: Report) -> Sheet:
    """The report, ready to be written."""
    is_begun = any(row.accuracy for row in report.rows)
    return Sheet(
        above=heading(report) if is_begun else (),
        rows=[cells(row, report) for row in report.rows] if is_begun else (),
        below=remarks(report),
        verdicts=verdicts(report),
        long={"Flips": flipped} if (flipped := flips(report)) else {},
        title=f"{report.questions}: {', '.join(row.profile for row in report.rows)}",
        settings=report.settings,
        numbers=[numbers(row) for row in report.rows],
        records=[_record(entry, report) for entry in report.entries],
        document=report,
    )


def heading(report: Report) -> list[str]:
    """What holds for all rows: machine, versions, questions, units."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    has_choices = any(row.by_character for row in report.rows)
    lines = (report.hardware, versions, questions_line(report), UNITS, BY_CHARACTER if has_choices else "")
    return [line for line in lines if line]


def questions_line(report: Report) -> str:
    """`arithmetic: 80 questions (60 regex, 20 choices), sha256 0123abcd, greedy, at most 256 new tokens`."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.kinds.items())
    judge = f", judged by {report.judged_by}" if report.judged_by else ""
    return (
        f"{report.questions}: {report.count} questions ({kinds}){judge}, "
        f"sha256 {report.questions_sha256[:8]}, greedy, "
        f"at most {report.max_new_tokens} new tokens where a question says nothing else"
    )


def cells(row: Row, report: Report) -> dict[str, Cell]:
    """A row for reading."""
    against = row.against
    found: dict[str, Cell] = {
        "profile": f"{row.profile} (A)" if row is report.rows[0] else row.profile,
        "method": row.label,
        "right": share_text(row.accuracy),
    }
    if any(each.by_character for each in report.rows):
        found["by character"] = share_text(row.by_character)
    return found | {
        "right → wrong": against.to_wrong if against else None,
        "wrong → right": against.to_right if against else None,
        "p": p_text(row.p_value),
        "difference": difference_text(row),
        "same answers": f"{row.same_answers} of {against.count}" if against else MISSING,
    }


def share_text(share: Share | None) -> str:
    """`45 of 80, 56.2 % (45.3 to 66.6)`."""
    if share is None:
        return MISSING
    return f"{share.right} of {share.count}, {share.percent:.1f} % ({share.low:.1f} to {share.high:.1f})"


def difference_text(row: Row) -> str:
    """`−3.8 points (−9.9 to 2.6)`."""
    if row.difference is None or row.difference_low is None or row.difference_high is None:
        return MISSING
    values = (f"{value:.1f}".replace("-", "−") for value in (row.difference_low, row.difference_high))
    return f"{row.difference:+.1f} points ({' to '.join(values)})".replace("-", "−")


def p_text(p: float | None) -> str:
    """`0.267`, `< 0.001`."""
    if p is None:
        return MISSING
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def verdicts(report: Report) -> list[str]:
    """A sentence for each model that is compared with A."""
    return [
        f"{row.profile}: {verdict(row.against, report.rows[0].profile)}"
        for row in report.rows
        if row.against is not None
    ]


def verdict(against: Paired, first: str) -> str:
    """`9 right answers of A became wrong, 4 wrong ones right: no difference beyond chance (p = 0.267)`."""
    if not against.to_wrong + against.to_right:
        return f"no answer flipped against {first}"
    p = against.p_value
    flipped = f"{against.to_wrong} right answers of {first} became wrong, {against.to_right} wrong ones right"
    worse = "worse" if against.to_wrong > against.to_right else "better"
    meaning = f"{worse} beyond chance" if p < CHANCE else "no difference beyond chance"
    sign = "" if p < 0.001 else "= "
    return f"{flipped}: {meaning} (p {sign}{p_text(p)})"


def flips(report: Report) -> list[dict[str, Cell]]:
    """Every question on which a model and A differ, with the answers."""
    return [entry_cells(entry, report) for entry in report.entries if entry.flips]


def entry_cells(entry: Entry, report: Report) -> dict[str, Cell]:
    """A question with all answers, for reading."""
    answers = {
        row.profile: answer_text(entry, side) if entry.answers[side] else MISSING
        for side, row in enumerate(report.rows)
    }
    return {
        "question": entry.id,
        "prompt": _short(entry.prompt),
        "expected": _short(entry.expected),
        **answers,
    }


def answer_text(entry: Entry, side: int) -> str:
    """`✓ 42`, `✗ 41`."""
    answered = entry.answers[side]
    if answered is None:
        return MISSING
    error = answered.response.error
    said = f"({error.message})" if error else answered.response.text.strip()
    return f"{mark(entry, side)} {_short(said)}"


def whole_answer(entry: Entry, side: int) -> str:
    """All that a model answered: its text, or each choice with its log-likelihood, or why there is none."""
    answered = entry.answers[side]
    if answered is None:
        return "not asked yet"
    response = answered.response
    if response.error:
        return f"({response.error.message})"
    if not entry.choices:
        return response.text
    found = zip(entry.choices, response.log_likelihoods, strict=True)
    return "\n".join(f"{value:9.3f} nats  {choice.strip()}" for choice, value in found)


def letter(side: int) -> str:
    """`A` of the first model."""
    return chr(ord("A") + side) if side < 26 else f"#{side + 1}"


def mark(entry: Entry, side: int) -> str:
    """`✓` for a right answer, `✗` for a wrong one; nothing before there is one."""
    answered = entry.answers[side]
    return "" if answered is None else "✓" if answered.verdict.right else "✗"


def remarks(report: Report) -> list[str]:
    """What the reader of the figures should know."""
    found = list(report.notes)
    for row in report.rows:
        found += [f"{row.profile}: {note}" for note in _notes(row, report)]
    return found


def _notes(row: Row, report: Report) -> Iterator[str]:
    yield from row.notes
    done = row.accuracy.count if row.accuracy else 0
    if row.error:
        yield row.error.message + (f" ({row.error.hint})" if row.error.hint else "")
    elif not row.complete:
        yield f"not finished: {done} of {report.count} questions answered"
    if row.from_before:
        yield f"kept answers of an earlier run: {row.from_before}"
    if row.other_input:
        yield f"questions read as other tokens than A's, as tokenizer or prompt differ: {row.other_input}"
    if row.cut:
        yield f"answers cut at their longest length: {row.cut}"
    if row.unanswered:
        yield f"questions that could not be answered, and count as wrong: {row.unanswered}"


def numbers(row: Row) -> dict[str, Cell]:
    """A row for machines that cannot read JSON."""
    share, other, against = row.accuracy, row.by_character, row.against
    return {
        "profile": row.profile,
        "label": row.label,
        "kernel": row.kernel,
        "right": share.right if share else None,
        "count": share.count if share else None,
        "accuracy": share.percent if share else None,
        "accuracy_low": share.low if share else None,
        "accuracy_high": share.high if share else None,
        "accuracy_by_character": other.percent if other else None,
        "both_right": against.both_right if against else None,
        "to_wrong": against.to_wrong if against else None,
        "to_right": against.to_right if against else None,
        "both_wrong": against.both_wrong if against else None,
        "p_value": row.p_value,
        "difference": row.difference,
        "difference_low": row.difference_low,
        "difference_high": row.difference_high,
        "same_answers": row.same_answers,
        "complete": row.complete,
        "error": row.error.message if row.error else "",
    }


def _record(entry: Entry, report: Report) -> object:
    """A line of JSON lines: a question, and each model's answer by its profile's name."""
    found = msgspec.to_builtins(entry)
    found["answers"] = {
        row.profile: answer for row, answer in zip(report.rows, found["answers"], strict=True)
    }
    return found


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
