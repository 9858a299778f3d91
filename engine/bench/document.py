"""A bench as a document: what was measured where, row by row; written next to its place and renamed into it.

Owns the file: reading it again, and refusing to resume one that was made elsewhere or with other settings.
"""

import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct
from msgspec.structs import replace

from engine import input_files
from engine.bench.checks import Check
from engine.bench.plan import Settings, Shape
from engine.bench.rows import Row
from engine.errors import FileError, InputError
from engine.machine import gpu_state, hardware
from engine.machine.gpu_state import GpuState
from engine.machine.hardware import Hardware
from engine.protocol.model import ModelInfo

LARGEST_BYTES = 256 << 20
RESULTS = frozenset({"out_of_memory", "bad_input"})  # errors that would only come again


class Start(Struct, frozen=True, kw_only=True):
    """The machine when a bench began or was resumed."""

    at: str
    """ISO 8601, UTC."""
    cpu_mhz: float | None
    cpu_busy_share: float
    """Of all processors, over a fifth of a second."""
    load_1min: float
    gpus: tuple[GpuState, ...]


class Header(Struct, frozen=True, kw_only=True):
    """What all rows have in common."""

    settings: Settings
    hardware: Hardware
    versions: dict[str, str] = {}
    """Of Python and the packages that the workers run."""
    models: dict[str, ModelInfo] = {}
    """What was loaded, by profile."""
    starts: tuple[Start, ...] = ()
    notes: tuple[str, ...] = ()


class Document(Struct, frozen=True, kw_only=True):
    """A whole bench, finished or not."""

    header: Header
    rows: tuple[Row, ...] = ()
    checks: tuple[Check, ...] = ()

    def missing(self) -> list[tuple[Shape, str]]:
        """Shapes and profiles without a row, in the order of the matrix."""
        settings = self.header.settings
        done = {(row.shape, row.profile) for row in self.rows if _is_final(row)}
        cells = [(shape, profile.name) for shape in settings.shapes for profile in settings.profiles]
        return [cell for cell in cells if cell not in done]

    def with_row(self, row: Row) -> "Document":
        """The document with this row in its place."""
        settings = self.header.settings
        shapes, names = list(settings.shapes), [profile.name for profile in settings.profiles]
        others = [other for other in self.rows if (other.shape, other.profile) != (row.shape, row.profile)]
        rows = sorted([*others, row], key=lambda row: (shapes.index(row.shape), names.index(row.profile)))
        return replace(self, rows=tuple(rows))

    def with_model(self, name: str, info: ModelInfo) -> "Document":
        """The document with what was loaded for a profile."""
        then, models = self.header.models.get(name), self.header.models | {name: info}
        versions = self.header.versions if info.served else info.versions  # a server's are not installed here
        found = replace(self, header=replace(self.header, models=models, versions=versions))
        if (
            then is None
            or not info.served
            or (then.kernel, then.architecture) == (info.kernel, info.architecture)
        ):
            return found
        return found.with_note(
            f"{name}: some rows are of {then.kernel}, {then.architecture}, which it served before"
        )

    def with_note(self, note: str) -> "Document":
        """The document with a remark for its reader."""
        notes = tuple(dict.fromkeys((*self.header.notes, note)))
        return replace(self, header=replace(self.header, notes=notes))


def begun(settings: Settings) -> Document:
    """The empty document of a bench that begins now, here."""
    return Document(header=Header(settings=settings, hardware=hardware.detect(), starts=(_start(),)))


def resumed(document: Document, settings: Settings) -> Document:
    """A document to resume; InputError where another bench, version or machine made it.

    Contexts, batch sizes and levels may differ: rows that are no longer wanted are left out.
    """
    _require_equal_settings(document.header.settings, settings)
    _require_equal_versions(document.header.versions)
    here = hardware.detect()
    then = document.header.hardware
    if (here.host.name, [g.name for g in here.gpus]) != (then.host.name, [g.name for g in then.gpus]):
        raise _refusal("it comes from another machine", then.host.name)
    header = replace(document.header, settings=settings, starts=(*document.header.starts, _start()))
    wanted = tuple(row for row in document.rows if row.shape in settings.shapes)
    return replace(document, header=header, rows=wanted, checks=())


def read(file: Path) -> Document:
    """The document in a JSON file; InputError where there is none."""
    try:
        return msgspec.json.decode(input_files.read(file, LARGEST_BYTES), type=Document)
    except FileError as error:
        raise InputError(error.message, "--resume reads what --out wrote") from error
    except (RecursionError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise InputError(f"{file} is not a bench of this version: {error}", "start a new one") from error


def _is_final(row: Row) -> bool:
    return row.error is None or row.error.kind in RESULTS


def _start() -> Start:
    busy_percent, clock = psutil.cpu_percent(interval=0.2), psutil.cpu_freq()
    return Start(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu_mhz=clock.current if clock else None,
        cpu_busy_share=busy_percent / 100,
        load_1min=psutil.getloadavg()[0],
        gpus=gpu_state.states(),
    )


def _require_equal_settings(then: Settings, now: Settings) -> None:
    fixed = [
        name
        for name in Settings.__struct_fields__
        if name not in {"contexts", "batches", "concurrency", "profiles"}
    ]
    for name in fixed:
        old, new = getattr(then, name), getattr(now, name)
        if old != new:
            raise _refusal(f"its {name} is {old}, not {new}", "run it with the same settings")
    old_names, new_names = ([profile.name for profile in s.profiles] for s in (then, now))
    if old_names != new_names:
        raise _refusal(f"its profiles are {', '.join(old_names)}", "name the same, in the same order")
    for old_profile, new_profile in zip(then.profiles, now.profiles, strict=True):
        if old_profile != new_profile:
            raise _refusal(f"the profile {old_profile.name} has changed", "start a new one")


def _require_equal_versions(then: dict[str, str]) -> None:
    for package, version in then.items():
        if (now := _installed(package)) != version:
            raise _refusal(f"{package} was {version} then and is {now} now", "start a new one")


def _installed(package: str) -> str:
    if package == "python":
        return platform.python_version()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _refusal(why: str, hint: str) -> InputError:
    return InputError(f"the bench cannot be resumed: {why}", hint)
