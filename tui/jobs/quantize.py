"""Quantizing as a job: a profile's checkpoint made now, and what it lost layer by layer.

The same engine and the same lines as `quantduel quantize`. Knows no widget.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from engine.checkpoints import export, layer_errors, store
from engine.checkpoints.text import summary
from engine.config.profile import Profile
from engine.config.record import Record
from engine.errors import InputError, LoadError
from engine.jobs.sheet import Sheet
from engine.quantize.run import Quantizing, require_savable, stored
from engine.quantize.text import checkpoint_sheet
from engine.session import launch
from engine.session.client import Session
from engine.units import time_text
from tui.charts.chart import Axis, Chart, Line
from tui.jobs.job import Field, Job, Picture, named

Open = Callable[[Profile], Session]
Found = tuple[Record, Path]


class QuantizeJob(Job):
    """One profile's checkpoint."""

    name = "Quantize now"
    explanation = "Make a checkpoint, keep it, and see what it lost"
    stopped = "stopped: nothing was made"
    done = "done: it is in the store, and loaded from there from now on"

    def __init__(self, name: str, open_session: Open = Session) -> None:
        super().__init__()
        self._name, self._open = name, open_session
        self._stored: Found | None = None

    @property
    def fields(self) -> Sequence[Field]:
        """Whose checkpoint, and where a copy goes."""
        return (
            Field("profiles", "profile", self._name),
            Field("out", "copy to", "", new_line=True),
        )

    def look(self, name: str) -> tuple[str, Found | None]:
        """What the store has of this profile, in words and as it is. InputError for no profile.

        Changes nothing: it runs in a thread that goes on though nobody waits for it any more.
        """
        wanted = savable(name, self.sides)
        there = stored(wanted)
        found = (there.record, there.path) if there else None
        if lacking := _lacking(wanted):
            return str(lacking), found
        if found is None:
            return "not in the store yet: Enter or Ctrl+R makes it", None
        return f"in the store since {time_text(found[0].created)}: Enter or Ctrl+R makes it again", found

    def show(self, found: Found | None) -> None:
        """Have the picture show this, instead of what was made."""
        self.work, self._stored = None, found

    def prepare(self, values: Mapping[str, str]) -> None:
        """This profile next; what the store has of it is made again."""
        wanted = savable(values["profiles"].strip(), self.sides)
        if lacking := _lacking(wanted):
            raise InputError(lacking.message, lacking.hint)
        out = values["out"].strip()
        copy = str(export.require_free(Path(out), replace=True)) if out else None
        self.work = Quantizing(wanted, copy, force=True, open_session=self._open)
        self._stored = None

    @property
    def found(self) -> Found | None:
        """What was made, or is in the store."""
        made = self.work.result if isinstance(self.work, Quantizing) else None
        return (made.record, Path(made.path)) if made else self._stored

    @property
    def sheet(self) -> Sheet | None:
        """The checkpoint's."""
        if self.found is None:
            return None
        record, path = self.found
        return checkpoint_sheet(record, path, store.size_bytes(path))

    @property
    def picture(self) -> Picture:
        """How it was made, and the loss of each layer."""
        if self.found is None:
            return Picture()
        record, path = self.found
        return Picture(
            rows=tuple(layer_errors.rows(record.errors)),
            first=("layer", "mean", "log scale"),
            charts=charts(record),
            facts=tuple(summary(record, path, store.size_bytes(path))),
        )


def _lacking(wanted: Profile) -> LoadError | None:
    """Why no worker can make it here; a checkpoint knows no server."""
    failed = launch.lacking(replace(wanted, serve=None))
    return LoadError(failed.message, failed.hint) if failed else None


def savable(name: str, sides: Sequence[Profile] = ()) -> Profile:
    """A profile that a checkpoint can be made of; InputError otherwise."""
    wanted = named(name, sides)
    require_savable(wanted)
    return wanted


def charts(record: Record) -> tuple[Chart, ...]:
    """The mean loss of each layer."""
    rows = layer_errors.rows(record.errors)
    points = tuple((float(str(row["layer"])), float(str(row["mean"]))) for row in rows)
    if not points:
        return ()
    line = Line("mean of a layer's matrices", "$accent", points)
    return (
        Chart(
            "loss, in the method's own measure", Axis("layer", whole=True), Axis("loss", log=True), (line,)
        ),
    )
