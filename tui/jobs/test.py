"""A test as a job: settings from what was typed, a row a model and a row a question from the report.

The same engine and the same cells as `quantduel test`. Knows no widget.
"""

from collections.abc import Callable, Mapping, Sequence

from engine.jobs.sheet import Sheet
from engine.tables import Cell
from engine.testing import sets
from engine.testing import text as texts
from engine.testing.questions import Questions
from engine.testing.report import Entry, Report
from engine.testing.run import Exam
from engine.testing.settings import Settings, require_pair
from tui.jobs.job import Field, Job, Picture, colours, number, profiles

WIDTHS = {"method": 8, "right": 31, "right → wrong": 13, "wrong → right": 13, "p": 7, "difference": 29}
FIRST = ("profile", "right", "p", "right → wrong", "wrong → right", "difference")
LEAST = 5  # characters of a question in the list
GAPS = 2  # around the first and the last column

Make = Callable[[Settings, Questions], Exam]


class QuestionsJob(Job):
    """Questions with checkable answers, put to some profiles."""

    name = "Test"
    explanation = "The same questions to each: who is right where A is not?"
    stopped = "stopped: answers are kept, and the next run goes on after them"
    done = "done: answers are kept; Ctrl+S exports them"

    def __init__(self, names: Sequence[str], make: Make = Exam) -> None:
        super().__init__()
        self._names, self._make = names, make

    @property
    def fields(self) -> Sequence[Field]:
        """Who is asked what."""
        return (
            Field("profiles", "A, B, …", " ".join(self._names)),
            Field("set", "set", next(iter(sets.SHIPPED)), new_line=True, options=tuple(sets.SHIPPED)),
            Field("limit", "first", "", 6),
            Field("tokens", "new tokens", "256", 6),
        )

    def prepare(self, values: Mapping[str, str]) -> None:
        """A new test with these settings; what was answered before is not asked again."""
        chosen = profiles(values["profiles"], self.sides)
        require_pair(chosen)
        limit = number("first", values["limit"]) if values["limit"].strip() else None
        questions = sets.find(values["set"].strip(), limit)
        settings = Settings(profiles=chosen, max_new_tokens=number("new tokens", values["tokens"]))
        self.work = self._make(settings, questions)

    @property
    def report(self) -> Report | None:
        """The answers so far."""
        return self.work.report if isinstance(self.work, Exam) else None

    @property
    def sheet(self) -> Sheet | None:
        """The report's."""
        found = self.report
        return texts.sheet(found) if found else None

    @property
    def picture(self) -> Picture:
        """A row a model."""
        found = self.report
        if found is None:
            return Picture()
        by_name = colours([row.profile for row in found.rows])
        first = found.rows[0].profile
        return Picture(
            rows=tuple(texts.cells(row, found) for row in found.rows),
            widths=WIDTHS | {"profile": max(map(len, (*by_name, f"{first} (A)")))},
            first=FIRST,
            colours=by_name | {f"{first} (A)": by_name[first]},
            facts=(texts.questions_line(found),),
            notes=tuple(_notes(found)),
        )


def _notes(found: Report) -> list[str]:
    """Errors first, then what it means, then what the reader should know."""
    errors = [f"{row.profile}: {row.error.message}" for row in found.rows if row.error]
    said = [remark for remark in texts.remarks(found) if not remark.startswith(tuple(errors) or ("\0",))]
    return [*errors, *texts.verdicts(found), *said]


def listed(report: Report, *, flips: bool) -> list[Entry]:
    """The questions to be listed: all, or those on which a model flips against A."""
    return [entry for entry in report.entries if entry.flips or not flips]


def lines(report: Report, width: int, *, flips: bool) -> list[dict[str, Cell]]:
    """The list in so many columns: a mark a model, and as much of what was asked as there is space for."""
    marks = [texts.letter(side) for side in range(len(report.rows))]
    longest = max((len(entry.id) for entry in report.entries), default=0)
    space = width - max(longest, 8) - sum(len(mark) + 2 for mark in marks) - 2 * GAPS
    name = "flips" if flips else "question"
    return [
        {
            name: entry.id,
            **{mark: texts.mark(entry, side) for side, mark in enumerate(marks)},
            "asked": _asked(entry, max(LEAST, space)),
        }
        for entry in listed(report, flips=flips)
    ]


def _asked(entry: Entry, space: int) -> str:
    """The question: the beginning of a single line, and of more, such as examples, the end."""
    text = entry.prompt.strip()
    flat = " ".join(text[: 4 * space].split() if "\n" not in text else text[-4 * space :].split())
    if len(flat) <= space:
        return flat
    return f"…{flat[1 - space :]}" if "\n" in text else f"{flat[: space - 1]}…"
