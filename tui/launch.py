"""What the command line chose for the screen. Data alone."""

from dataclasses import dataclass

from engine.duel.overrides import NOTHING, Overrides
from engine.session.schedule import AskedSchedule


@dataclass(frozen=True, slots=True)
class Launch:
    """How the duel begins."""

    named: tuple[str, str] = ("", "")
    """What A and B were called: a profile's name, a file, a model; empty where nobody said."""
    overrides: Overrides = NOTHING
    schedule: AskedSchedule = "auto"
    prompt: str = ""
    """Asked as soon as both are loaded; empty for none."""
    remarks: tuple[str, ...] = ()
    """What the user should know of the names."""


NOTHING_CHOSEN = Launch()
