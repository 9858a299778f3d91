"""Quantizing as a job: a profile's checkpoint made now, how far it is, and what it lost layer by layer.

The same engine and the same lines as `quantduel quantize`. Knows no widget.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

from engine.checkpoints import export, layer_errors, store
from engine.checkpoints.store import Entry
from engine.checkpoints.text import summary
from engine.config import profile
from engine.config.methods import Savable, tag
from engine.config.profile import Profile
from engine.config.record import Record
from engine.errors import InputError, LoadError
from engine.machine import packages
from engine.protocol import Failed, Quantized, Staged
from engine.session.client import Session
from engine.session.progress import stage_text
from engine.units import time_text
from tui.charts.chart import Axis, Chart, Line
from tui.jobs.job import Field, Picture, Progress

HINT = "rtn, gptq, awq and bitsandbytes do"
Open = Callable[[Profile], Session]


class QuantizeJob:
    """One profile's checkpoint."""

    name = "Quantize now"
    explanation = "Make a profile's checkpoint and see what it lost; from then on it is loaded from the store"
    done = "done: it is in the store, and loaded from there from now on"

    def __init__(self, name: str, open_session: Open = Session) -> None:
        self._name, self._open = name, open_session
        self._profile: Profile | None = None
        self._out: str | None = None
        self._found: tuple[Record, Path] | None = None

    @property
    def fields(self) -> Sequence[Field]:
        """Whose checkpoint, and where a copy goes."""
        return (
            Field("profiles", "profile", self._name),
            Field("out", "copy to", "", new_line=True),
        )

    def look(self, name: str) -> str:
        """What the store has of this profile, in words; the picture shows it. InputError for no profile."""
        wanted = savable(name)
        there = stored(wanted)
        self._found = (there.record, there.path) if there else None
        if lacking := packages.missing(packages.library(wanted.quantization)):
            return f"{wanted.label} {lacking}"
        if there is None:
            return "not in the store yet: Enter or Ctrl+R makes it"
        return f"in the store since {time_text(there.record.created)}: Enter or Ctrl+R makes it anew"

    def prepare(self, values: Mapping[str, str]) -> None:
        """This profile next."""
        self._profile = savable(values["profiles"].strip())
        if lacking := packages.missing(packages.library(self._profile.quantization)):
            raise InputError(f"{self._profile.label} {lacking.message}", lacking.hint)
        out = values["out"].strip()
        self._out = str(export.require_free(Path(out), replace=True)) if out else None
        self._found = None

    async def run(self) -> AsyncGenerator[Progress]:
        """Make the checkpoint, anew where there is one; leaving early ends its process and keeps nothing."""
        if self._profile is None:
            raise RuntimeError("prepare() comes first")
        session, pace = self._open(self._profile), StagePace()
        try:
            async for event in session.quantize(self._out, force=True):
                match event:
                    case Staged():
                        yield pace.progress(event)
                    case Quantized(record=record, path=path):
                        self._found = record, Path(path)
                    case Failed(message=message, hint=hint):
                        raise LoadError(message, hint)
        finally:
            await session.close()

    @property
    def picture(self) -> Picture:
        """How it was made, and the loss of each layer."""
        if self._found is None:
            return Picture()
        record, path = self._found
        return Picture(
            rows=tuple(layer_errors.rows(record.errors)),
            charts=charts(record),
            facts=tuple(summary(record, path, store.size_bytes(path))),
        )


class StagePace:
    """How far a stage is, and how long the rest of it will take at its pace so far."""

    def __init__(self) -> None:
        self._first: Staged | None = None

    def progress(self, staged: Staged) -> Progress:
        """The stage in words, its share, and the time left of it."""
        if self._first is None or self._first.stage != staged.stage or self._first.total != staged.total:
            self._first = staged
        share = staged.done / staged.total if staged.total else None
        return Progress(stage_text(staged), share, self._left_s(self._first, staged))

    def _left_s(self, first: Staged, now: Staged) -> float | None:
        done = now.done - first.done
        if done <= 0 or not now.total:
            return None
        return (now.ns - first.ns) / 1e9 / done * (now.total - now.done)


def savable(name: str) -> Profile:
    """A profile that a checkpoint can be made of; InputError otherwise."""
    wanted = profile.find(name)
    if not isinstance(wanted.quantization, Savable):
        problem = f"{wanted.name}: method {tag(wanted.quantization)} makes no checkpoint"
        raise InputError(problem, HINT)
    return wanted


def stored(wanted: Profile) -> Entry | None:
    """The newest checkpoint of this profile, as it is now, made with the packages that are installed."""
    for entry in store.entries():
        made = entry.record.profile, entry.record.recipe.method
        source = entry.record.recipe.model.partition("@")[0]
        same = made == (wanted.name, wanted.quantization) and source in {wanted.model.source, "folder"}
        if same and store.is_current(entry):
            return entry
    return None


def charts(record: Record) -> tuple[Chart, ...]:
    """The mean loss of each layer."""
    rows = layer_errors.rows(record.errors)
    points = tuple((float(str(row["layer"])), float(str(row["mean"]))) for row in rows)
    if not points:
        return ()
    line = Line("mean of a layer's matrices", "$accent", points)
    return (Chart("loss, in the method's own measure", Axis("layer"), Axis("loss", log=True), (line,)),)
