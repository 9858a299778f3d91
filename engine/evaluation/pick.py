"""Which method for this model? Tries them from cheap to dear and names the fastest that is good enough.

An evaluation whose dear candidates are tried only where no cheap one will do, or where all are asked for.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine.evaluation.candidates import Candidate, Declined
from engine.evaluation.gate import Gate
from engine.evaluation.report import Report, Row
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Settings
from engine.evaluation.side import Side
from engine.evaluation.text import sheet
from engine.evaluation.verdicts import pick_text, picked
from engine.jobs.sheet import Sheet
from engine.stats.verdict import Limits

DEAR = "takes a calibration, and a cheaper one is good enough; --all tries it, too"


class Choice(Struct, frozen=True, kw_only=True):
    """What was picked."""

    profile: str
    command: str
    """What to go on with."""
    text: str
    """In a sentence."""


class Pick(Evaluation):
    """The search on its way."""

    def __init__(
        self, settings: Settings, found: Sequence[Candidate], limits: Limits, *, try_all: bool = False
    ) -> None:
        """`settings` has the reference and the candidates' profiles, in the order in which they are tried."""
        super().__init__(settings, gate=Gate(limits))
        names = [profile.name for profile in settings.profiles[1:]]
        self._found = dict(zip(names, found, strict=True))
        self._try_all = try_all
        self.declined: list[Declined] = []

    @property
    def report(self) -> Report:
        """The figures of those that were tried so far."""
        found, declined = super().report, {each.name for each in self.declined}
        tried = tuple(row for row in found.candidates if row.profile not in declined)
        return replace(found, candidates=tried)

    @property
    def choice(self) -> Choice | None:
        """The nearest of those good enough that none is shown to be faster than; None where none is."""
        report = self.report
        best = picked(report)
        return self._chosen(best, pick_text(best, report)) if best else None

    @property
    def sheet(self) -> Sheet:
        """The evaluation's, with the choice at its end."""
        found, choice = sheet(self.report), self.choice
        document = msgspec.to_builtins(found.document) | {
            "pick": choice,
            "not_tried": [each._asdict() for each in self.declined],
        }
        not_tried = [f"{each.name}: not tried: {each.why}" for each in self.declined]
        ending = self._ending(choice) if found.rows else []
        verdicts = [*found.verdicts, *(line for line in ending if line not in found.verdicts)]
        below = [*found.below, *not_tried]
        return replace(found, below=below, verdicts=verdicts, document=document)

    def _ending(self, choice: Choice | None) -> list[str]:
        if choice:
            return [choice.text, f"go on with: {choice.command}"]
        return ["none that was tried is shown to be good enough"]

    def _wants(self, side: Side) -> bool:
        """Whether a candidate is still to be tried: a dear one only where no cheaper one will do."""
        candidate = self._found[side.profile.name]
        if self._try_all or not candidate.is_dear or self.choice is None:
            return True
        self.declined.append(Declined(side.profile.name, DEAR))
        return False

    def _chosen(self, best: Row, text: str) -> Choice:
        command = self._found[best.profile].command
        is_profile = command == best.profile
        reference = self.settings.profiles[0].name
        return Choice(
            profile=best.profile,
            command=f"quantduel {reference} {command}" if is_profile else f"quantduel chat {command}",
            text=text,
        )
