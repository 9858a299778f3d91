"""One question of a test: what was asked and expected, and what A and another model answered. Shows; judges
nothing.
"""

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.sanitize import visible
from engine.testing import text as texts
from engine.testing.report import Entry, Report

COLOURS = {"✓": "$success", "✗": "$error"}


class SideBySide(Vertical):
    """The question above, two answers below."""

    DEFAULT_CSS = """
    SideBySide { width: 1fr; height: 1fr; }
    SideBySide .asked { height: auto; max-height: 40%; }
    SideBySide .answers { height: 1fr; min-height: 3; }
    SideBySide .answers VerticalScroll { width: 1fr; padding: 0 1 0 0; }
    SideBySide VerticalScroll:focus { background: $panel 40%; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = Content()

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="asked"):
            yield Static(id="asked")
        with Horizontal(classes="answers"):
            for place in range(2):
                with VerticalScroll():
                    yield Static(id=f"answer-{place}")

    def show(self, report: Report, entry: Entry | None, side: int, nothing: str) -> None:
        """This question, with A's answer and that of the model `side`; without one, what says so."""
        question = asked(entry) if entry else Content(nothing)
        if question != self._asked:
            self._asked = question
            self.query_one("#asked", Static).update(question)
            self.query_one(".asked", VerticalScroll).scroll_end(animate=False)  # after examples, the question
        for place, shown in enumerate((0, side)):
            answer = self.query_one(f"#answer-{place}", Static)
            answer.update(answered(report, entry, shown) if entry else "")


def asked(entry: Entry) -> Content:
    """The prompt, and the right answer."""
    kind = f"{entry.id}, {entry.kind.replace('_', ' ')}"
    expected = visible(entry.expected)
    return Content.assemble(
        (f"{visible(kind)}\n", "$quiet"), visible(entry.prompt), ("\nexpected  ", "$quiet"), expected
    )


def answered(report: Report, entry: Entry, side: int) -> Content:
    """Whose answer, whether it is right, and all of it."""
    mark = texts.mark(entry, side)
    flip = entry.flip(side) if side else ""
    name = Content.assemble(
        (f"{mark} " if mark else "", COLOURS.get(mark, "")),
        (f"{texts.letter(side)} ", "bold"),
        (visible(report.rows[side].profile), "bold"),
        (f"  {flip}" if flip else "", "$text-warning"),
    )
    return Content.assemble(name, "\n", visible(texts.whole_answer(entry, side).strip()))
