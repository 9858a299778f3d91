"""What a screen of long work shows, as data, and the part of the engine it drives: their one interface.

A job translates: what the user typed into the engine's settings, the engine's events into words and a share,
its results into table rows and charts. Knows no widget.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine.history import RunKind
from engine.tables import Row
from tui.charts.chart import Chart

COLOURS = ("$primary", "$accent", "$success", "$error", "$warning", "$secondary")
"""A profile's, by its place."""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing to set up."""

    key: str
    label: str
    value: str
    width: int = 0
    """In characters; 0 takes what is left of the line."""
    new_line: bool = False
    options: tuple[str, ...] = ()
    """What is often written there."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work is; what is not known is None."""

    words: str
    share: float | None = None
    left_s: float | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """The results so far."""

    rows: tuple[Row, ...] = ()
    widths: Mapping[str, int] | None = None
    """Least widths of columns, so that nothing moves while they fill."""
    colours: Mapping[str, str] | None = None
    """A colour for each profile, by its name."""
    charts: tuple[Chart, ...] = ()
    facts: tuple[str, ...] = ()
    """What holds for all of it."""
    notes: tuple[str, ...] = ()
    """What should not be overlooked."""


class Job(Protocol):
    """One kind of long work."""

    name: str
    explanation: str
    """What it does, in a line."""
    done: str
    """What to say at the end."""

    @property
    def fields(self) -> Sequence[Field]:
        """What to set up; `profiles` is one of them."""

    @property
    def picture(self) -> Picture:
        """The results so far."""

    def prepare(self, values: Mapping[str, str]) -> None:
        """Begin anew with these settings; InputError where they are none."""

    def run(self) -> AsyncGenerator[Progress]:
        """Do the work; whoever leaves early stops it, and keeps what is done."""


class KeptJob(Job, Protocol):
    """Work whose results are kept as documents, exported, and compared with later ones."""

    kind: RunKind
    suffixes: Sequence[str]
    """Of files it can be exported to."""

    @property
    def title(self) -> str:
        """What a kept run is called."""

    def body(self) -> bytes | None:
        """The results as a JSON document, to keep; None where there is nothing yet."""

    def open(self, body: bytes) -> None:
        """Show an earlier run."""

    def compare(self, body: bytes, title: str) -> None:
        """Show an earlier run beside the present one."""

    def export(self, file: Path) -> None:
        """Write the results as the file's name asks; InputError where that cannot be."""


def numbers(label: str, text: str, least: int = 1) -> tuple[int, ...]:
    """`32,64, 128` as integers, each once; InputError where it is something else."""
    from engine.errors import InputError

    parts = text.replace(",", " ").split()
    if not parts or not all(part.isascii() and part.isdigit() and int(part) >= least for part in parts):
        raise InputError(
            f"{label}: {text!r} is no list of whole numbers from {least} on", "such as 32,128,512"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))


def number(label: str, text: str, least: int = 1) -> int:
    """One integer; InputError where it is something else."""
    from engine.errors import InputError

    found = text.strip()
    if not (found.isascii() and found.isdigit() and int(found) >= least):
        raise InputError(f"{label}: expected a whole number from {least} on, not {text!r}")
    return int(found)


def mebibytes(values: Sequence[int]) -> tuple[str, float]:
    """The unit for an axis of bytes: its name and size."""
    from engine.units import GIB, MIB

    return ("GiB", GIB) if max(values, default=0) >= 4 * GIB else ("MiB", MIB)
