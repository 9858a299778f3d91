"""Environments, Pythons with other libraries than QuantDuel's own: which are shipped, and which are there.

Owns the pinned lists and the mark of an environment that is whole. Builds nothing (`engine/environments`).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine import input_files, paths
from engine.config.faults import nearest
from engine.errors import FileError, InputError, LoadError

LISTS = Path(__file__).with_name("pinned")
MARK = "quantduel.json"
MOST_MARK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Pinned:
    """A list of package versions that QuantDuel ships."""

    name: str
    module: str
    """What is imported to see that it works."""
    built: tuple[str, ...] = ()
    """Requirements that are built against the list's own packages, after them."""
    newest_python: tuple[int, int] | None = None

    @property
    def file(self) -> Path:
        """The list, as pip reads it."""
        return LISTS / f"{self.name}.txt"

    @property
    def requirements(self) -> tuple[str, ...]:
        """`transformers==4.51.3` and so on, what is built included."""
        lines = (line.strip() for line in self.file.read_text().splitlines())
        return (*(line for line in lines if line and not line.startswith("#")), *self.built)

    @property
    def versions(self) -> dict[str, str]:
        """The version of each package."""
        return dict(requirement.split("==") for requirement in self.requirements)

    def takes(self, python: Sequence[Any]) -> bool:
        """Whether its packages work with this version of Python."""
        return self.newest_python is None or tuple(python[:2]) <= self.newest_python


SHIPPED = {
    found.name: found
    for found in (
        Pinned("autoawq", "awq"),
        Pinned("auto-gptq", "auto_gptq", built=("auto-gptq==0.7.1",), newest_python=(3, 11)),
    )
}


class Mark(Struct, frozen=True, kw_only=True):
    """What an environment says of itself once it is whole."""

    name: str
    created: str
    """ISO 8601, UTC."""
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class Environment:
    """A folder of the data folder's `environments`."""

    name: str
    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def mark(self) -> Mark | None:
        """What it says of itself; None where it is not whole, or somebody else's."""
        try:
            return msgspec.json.decode(input_files.read(self.folder / MARK, MOST_MARK_BYTES), type=Mark)
        except (FileError, ValueError, RecursionError):
            return None

    @property
    def is_usable(self) -> bool:
        """Whether a worker may run in it: one of a shipped list has to be whole, another needs a Python."""
        has_python = paths.answers(Path.is_file, self.python)
        return has_python and (self.name not in SHIPPED or self.mark is not None)

    @cached_property
    def site_packages(self) -> list[str]:
        """Where its packages are."""
        return [str(place) for place in sorted(self.folder.glob("lib/python3*/site-packages"))]

    def version(self, package: str) -> str:
        """Of an installed package, such as `2.13.0+cpu`; empty for none."""
        found = metadata.Distribution.discover(name=package, path=self.site_packages)
        return next((each.version for each in found), "")


def pinned(name: str) -> Pinned:
    """The shipped list of that name; InputError where there is none."""
    if name not in SHIPPED:
        hint = nearest(name, SHIPPED) or f"there are {', '.join(SHIPPED)}"
        raise InputError(f"no pinned list named {name!r}", hint)
    return SHIPPED[name]


def environment(name: str) -> Environment:
    """The environment of that name, whether it is there or not."""
    return Environment(name, paths.environments() / name)


def missing(name: str) -> LoadError | None:
    """What to say where no worker can run in the environment of that name; None where one can."""
    found = environment(name)
    if found.is_usable:
        return None
    hint = f"quantduel env create {name} makes it" if name in SHIPPED else _others(name)
    if found.folder.exists():
        return LoadError(f"the environment {name} is not whole", hint)
    return LoadError(f"there is no environment named {name} here", hint)


def _others(name: str) -> str:
    return nearest(name, {*SHIPPED, *(found.name for found in here())}) or "`quantduel env list` shows all"


def here() -> list[Environment]:
    """Every environment that is there, begun ones too, by name."""
    folder = paths.environments()
    if not paths.answers(Path.is_dir, folder):
        return []
    names = sorted(place.name for place in folder.iterdir() if place.is_dir())
    return [environment(name) for name in names if re.fullmatch(r"[A-Za-z0-9][\w.-]*", name)]


def wrong(found: Environment) -> list[str]:
    """What differs in it from its pinned list, a line a package; nothing for one without a list."""
    if found.name not in SHIPPED:
        return []
    return list(_differences(found, SHIPPED[found.name].versions.items()))


def _differences(found: Environment, wanted: Iterable[tuple[str, str]]) -> Iterable[str]:
    for package, version in wanted:
        installed = found.version(package)
        if installed.partition("+")[0] != version:  # a build adds to it
            yield f"{package} is {installed or 'not installed'}, pinned is {version}"
