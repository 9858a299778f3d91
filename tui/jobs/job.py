"""What a screen of long work shows, as data, and the part of the engine it drives: their one interface.

A job translates: what the user typed into the engine's settings, its results into table rows and charts. What
it reports meanwhile is the engine's. Knows no widget.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from engine import tables
from engine.config.profile import Profile
from engine.config.profiles import find
from engine.errors import InputError, LoadError
from engine.jobs.events import JobEvent
from engine.jobs.job import Job as Work
from engine.jobs.profiles import distinct
from engine.jobs.sheet import Sheet, format_of, text
from engine.results import RunKind
from engine.tables import Row
from engine.units import GIB, MIB
from tui.charts.chart import Chart
from tui.duel.colours import COLOURS

Found = TypeVar("Found", bound=msgspec.Struct)


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
class Picture:
    """The results so far."""

    rows: tuple[Row, ...] = ()
    widths: Mapping[str, int] | None = None
    """Least widths of columns, so that nothing moves while they fill."""
    first: tuple[str, ...] = ()
    """The columns to begin with where not all have room."""
    colours: Mapping[str, str] | None = None
    """A colour for each profile, by its name."""
    charts: tuple[Chart, ...] = ()
    facts: tuple[str, ...] = ()
    """What holds for all of it."""
    notes: tuple[str, ...] = ()
    """What should not be overlooked."""


class Job(ABC):
    """One kind of long work."""

    name: str
    explanation: str
    """What it does, in a line."""
    done: str
    """What to say at the end."""

    def __init__(self) -> None:
        self.sides: Sequence[Profile] = ()
        """The duel's own profiles, which their names mean before any file is looked for."""
        self.work: Work | None = None
        """The engine's run, once it is prepared."""

    @property
    @abstractmethod
    def stopped(self) -> str:
        """What to say when it was stopped."""

    @property
    @abstractmethod
    def fields(self) -> Sequence[Field]:
        """What to set up; `profiles` is one of them."""

    @property
    @abstractmethod
    def picture(self) -> Picture:
        """The results so far."""

    @property
    @abstractmethod
    def sheet(self) -> Sheet | None:
        """The results so far, as they are written; None where there are none."""

    @abstractmethod
    def prepare(self, values: Mapping[str, str]) -> None:
        """Begin again with these settings; InputError where they are none."""

    async def run(self) -> AsyncGenerator[JobEvent]:
        """Do the work; whoever leaves early stops it, and keeps what is done. LoadError where nothing was."""
        if self.work is None:
            raise RuntimeError("prepare() comes first")
        async with aclosing(self.work.run()) as events:
            async for event in events:
                yield event
        if failure := self.work.failure:
            raise LoadError(failure.message, failure.hint)

    def export(self, file: Path) -> None:
        """Write the results as the file's name asks; InputError where that cannot be."""
        form, found = format_of(file), self.sheet
        if found is None:
            raise InputError("there are no results yet")
        tables.write(text(found, form), file)


class KeptJob(Job, Generic[Found]):
    """Work whose results are kept as documents, and compared with later ones."""

    kind: RunKind
    document: type[Found]
    """What is kept."""
    done = "done: kept among the earlier runs (F4); Ctrl+S exports it"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = names
        """Of the profiles that are proposed."""
        self.shown: Found | None = None
        """An earlier run, shown again."""
        self.earlier: Found | None = None
        """One to compare with."""

    @property
    @abstractmethod
    def found(self) -> Found | None:
        """The results so far, or those of the earlier run that is shown."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What a kept run is called."""

    @abstractmethod
    def is_worth_keeping(self, found: Found) -> bool:
        """Whether anything was measured."""

    @property
    def stopped(self) -> str:
        """What to say when it was stopped."""
        return "stopped: what was measured is kept" if self._measured else "stopped: nothing was measured yet"

    @property
    def _measured(self) -> Found | None:
        """The results, where anything was measured."""
        found = self.found
        return found if found and self.is_worth_keeping(found) else None

    def body(self) -> bytes | None:
        """The results as a JSON document, to keep; None where there is nothing yet."""
        found = self._measured
        return msgspec.json.encode(found) if found else None

    def open(self, body: bytes) -> None:
        """Show an earlier run."""
        self.shown, self.earlier = self._decoded(body), None

    def compare(self, body: bytes) -> None:
        """Show an earlier run's figures next to the present one's."""
        self.earlier = self._decoded(body)

    def _decoded(self, body: bytes) -> Found:
        try:
            return msgspec.json.decode(body, type=self.document)
        except msgspec.MsgspecError as error:
            raise InputError(f"that run was kept by another version: {error}") from error


def profiles(text: str, sides: Sequence[Profile] = ()) -> tuple[Profile, ...]:
    """The profiles whose names were typed; InputError where one is not known.

    A name means a side of the duel, as it is there, before anything else; the second of two alike the second.
    """
    left, found = list(sides), []
    for name in text.split():
        own = next((each for each in left if typed(each) == name), None)
        if own is not None:
            left.remove(own)
        found.append(own or named(name, sides))
    return distinct(found)


def named(name: str, sides: Sequence[Profile]) -> Profile:
    """The side of that name, or what the name means elsewhere; InputError where it is not known."""
    return next((each for each in sides if typed(each) == name), None) or find(name)


def typed(profile: Profile) -> str:
    """What a user types to mean this one: its name, or the address of a server that has no profile."""
    return (
        profile.model.source if profile.is_served and profile.name == profile.source_address else profile.name
    )


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each profile, by its place."""
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def numbers(label: str, text: str, least: int = 1) -> tuple[int, ...]:
    """`32,64, 128` as integers, each once; InputError where it is something else."""
    parts = text.replace(",", " ").split()
    if not parts or not all(part.isascii() and part.isdigit() and int(part) >= least for part in parts):
        raise InputError(
            f"{label}: {text!r} is no list of whole numbers from {least} on", "such as 32,128,512"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))


def number(label: str, text: str, least: int = 1) -> int:
    """One integer; InputError where it is something else."""
    found = text.strip()
    if not (found.isascii() and found.isdigit() and int(found) >= least):
        raise InputError(f"{label}: expected a whole number from {least} on, not {text!r}")
    return int(found)


def mebibytes(values: Sequence[int]) -> tuple[str, float]:
    """The unit for an axis of bytes: its name and size."""
    return ("GiB", GIB) if max(values, default=0) >= 4 * GIB else ("MiB", MIB)
