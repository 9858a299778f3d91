"""What a bench tells while it runs. Plain data for front ends."""

from dataclasses import dataclass

from engine.bench.checks import Check
from engine.bench.plan import Shape
from engine.bench.rows import Row
from engine.protocol import Staged


@dataclass(frozen=True, slots=True)
class Loading:
    """A profile's model is being loaded."""

    profile: str
    stage: Staged


@dataclass(frozen=True, slots=True)
class Advanced:
    """A run begins."""

    profile: str
    shape: Shape
    doing: str
    """`warm-up`, `memory`, `repeat 2 of 5`."""
    share: float
    """How much of the bench is done."""
    left_s: float | None
    """A rough guess at the time left; None before the first run has ended."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A row is there; `again` where the self-check measured it once more."""

    row: Row
    again: bool = False


@dataclass(frozen=True, slots=True)
class Noted:
    """Something the reader of the rows should know."""

    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The self-check has its verdicts."""

    checks: tuple[Check, ...]


BenchEvent = Loading | Advanced | Filled | Noted | Checked
