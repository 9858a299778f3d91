"""Answers made up by hand: three models, ten questions."""

from pathlib import Path

from engine.config.profiles import find
from engine.jobs.profiles import distinct
from engine.protocol.failure import Failed
from engine.testing.checks import Verdict
from engine.testing.items import Item
from engine.testing.kept import Kept
from engine.testing.questions import Answered, Questions, Response, of_items
from engine.testing.report import Report, reported
from engine.testing.run import Exam
from engine.testing.settings import Settings
from engine.testing.side import Side

A = "rrrrrrwwww"
B = "rrrwwwwwwr"  # 3 became wrong, 1 right
C = "rrrrrr"  # not finished


def questions(count: int = 10) -> Questions:
    return of_items("mine", [Item(id=f"q{n}", prompt=f"{n} + 1?", exact=str(n + 1)) for n in range(count)])


def answers(outcomes: str) -> dict[str, Answered]:
    """r is right, w is wrong."""
    return {
        f"q{n}": Answered(
            response=Response(text=str(n + (each == "r")), prompt_sha256=str(n), finish_reason="stop"),
            verdict=Verdict(right=each == "r"),
        )
        for n, each in enumerate(outcomes)
    }


def finished(folder: Path, *outcomes: str) -> Exam:
    """A test of these models that is over."""
    profiles = distinct([find("random-tiny-bf16")] * len(outcomes))
    exam = Exam(Settings(profiles=profiles), questions(), kept=Kept(folder / "tested.sqlite3"))
    for side, given in zip(exam.sides, outcomes, strict=True):
        side.answers = answers(given)
    return exam


def report(*outcomes: str, failed: Failed | None = None) -> Report:
    """Of A, B, …; the last one has `failed`."""
    profiles = distinct([find("random-tiny-bf16")] * len(outcomes))
    sides = [Side(each) for each in profiles]
    for side, given in zip(sides, outcomes, strict=True):
        side.answers = answers(given)
    sides[-1].failure = failed
    return reported(
        questions(), Settings(profiles=profiles), sides, [], {each.name: "y" for each in profiles}
    )
