"""Builds an environment of a pinned list, as a job: a venv, pip, a look whether it works, and then the mark.

A venv cannot be renamed into its place, so it is built there, under a lock, and counts once it has its mark.
What ends the work early removes what was begun; what a killed builder left goes before the next begins.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from engine import paths
from engine.config import environments
from engine.config.environments import MARK, Environment, Mark, Pinned
from engine.errors import InputError
from engine.jobs.events import Advanced, Completed
from engine.jobs.job import Job
from engine.jobs.sheet import Sheet
from engine.protocol.failure import Failure

PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off")
WITHOUT_CUDA = {"BUILD_CUDA_EXT": "0"}  # AutoGPTQ's own switch
BEGUN = "quantduel.building"  # in a folder that was begun: no other is ever replaced
_STEP = re.compile(
    r"\s*(Collecting|Downloading|Building wheel for|Installing collected|Processing) ?(\S*)(.*)"
)
_SHARE_OF_PIP = 0.9
_SIZE = re.compile(r"\(([\d.]+ [kMG]B)\)")


class Build(Job):
    """An environment in the making; `failure` says why there is none."""

    def __init__(self, wanted: Pinned, python: str) -> None:
        super().__init__()
        self._wanted, self._python = wanted, python
        self._place = environments.environment(wanted.name)
        self._failure: Failure | None = None
        self._seen = 0

    @property
    def sheet(self) -> Sheet:
        """Nothing: what counts is on the disk."""
        return Sheet()

    @property
    def failure(self) -> Failure | None:
        """Why it could not be built."""
        return self._failure

    async def _work(self) -> None:
        lock = FileLock(lock_file(self._place))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self._failure = Failure(kind="bad_input", message=f"{self._wanted.name} is being built already")
            return
        try:
            _delete(self._place.folder)
            self._place.folder.mkdir(parents=True)
            (self._place.folder / BEGUN).touch()
            await self._build()
        except _FailedError as error:
            self._failure = Failure(kind="not_loaded", message=error.message, hint=error.hint)
        finally:
            if self._place.mark is None:
                _delete(self._place.folder)
            lock.release()

    async def _build(self) -> None:
        place, wanted = self._place, self._wanted
        self._advance("making a virtual environment", 0.0)
        await self._run((self._python, "-m", "venv", str(place.folder)))
        await self._run((str(place.python), *PIP, "-r", str(wanted.file)))
        for requirement in wanted.built:
            await self._compile(requirement)
        self._advance("looking whether it works", _SHARE_OF_PIP)
        await self._run((str(place.python), "-c", f"import {wanted.module}"))
        made = Mark(name=wanted.name, created=_now(), requirements=wanted.requirements)
        begun = place.folder / f"{MARK}.new"
        begun.write_bytes(msgspec.json.encode(made))
        begun.rename(place.folder / MARK)
        (place.folder / BEGUN).unlink()
        self.emit(Completed(wanted.name))

    async def _compile(self, requirement: str) -> None:
        """Built against what is installed; with CUDA kernels where their compiler is there and succeeds."""
        command = (str(self._place.python), *PIP, "--no-build-isolation", "--no-deps", requirement)
        if shutil.which("nvcc") is None:
            await self._run(command, WITHOUT_CUDA)
            return
        try:
            await self._run(command)
        except _FailedError:
            await self._run(command, WITHOUT_CUDA)

    async def _run(self, command: Sequence[str], settings: Mapping[str, str] | None = None) -> None:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            cwd=paths.neutral_folder(),
            env={**_without_python_settings(), **(settings or {})},
            start_new_session=True,
        )
        try:
            last = await self._listen(process)
            if await process.wait():
                raise _FailedError(command, last)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _listen(self, process: Process) -> list[str]:
        """Report what it says; its last lines."""
        last: list[str] = []
        while process.stdout is not None and (line := await process.stdout.readline()):
            said = line.decode(errors="replace").rstrip()
            last = [*last, said][-40:]
            if found := _STEP.match(said):
                self._seen += found[1] in {"Collecting", "Processing"}
                done = min(self._seen / (len(self._wanted.requirements) * 1.5), 1.0)
                self._advance(_words(found), _SHARE_OF_PIP * done)
        return last

    def _advance(self, doing: str, share: float) -> None:
        self.emit(Advanced(self._wanted.name, doing, share))


class _FailedError(Exception):
    """A command of the build ended badly."""

    def __init__(self, command: Sequence[str], said: list[str]) -> None:
        errors = [line for line in said if line.lstrip().lower().startswith("error")] or said[-1:]
        name = next((word for word in ("venv", "pip") if word in command), "the look whether it works")
        self.message = f"{name} failed: {errors[0].strip()[:300] if errors else 'no reason given'}"
        self.hint = next(
            (line.strip() for line in reversed(said) if line.strip() and line not in errors), ""
        )[:300]


def python_for(wanted: Pinned, asked: str | None) -> str:
    """The Python that the environment is made with: asked for, QuantDuel's own, or one of the PATH.

    InputError where none suits.
    """
    if asked is not None:
        return _suitable(wanted, asked)
    if wanted.takes(sys.version_info):
        return sys.executable
    newest = ".".join(map(str, wanted.newest_python or ()))
    for name in (f"python{newest}", "python3", "python"):
        if (found := shutil.which(name)) and (version := _version(found)) and wanted.takes(version):
            return found
    own = ".".join(map(str, sys.version_info[:2]))
    raise InputError(
        f"{wanted.name} needs Python {newest} or older, and this is {own}",
        f"install Python {newest}, and name it: quantduel env create {wanted.name} --python PATH",
    )


def is_own(found: Environment) -> bool:
    """Whether QuantDuel made what is there, or began to; nothing may be there."""
    return found.mark is not None or (found.folder / BEGUN).exists() or not found.folder.exists()


def require_own(found: Environment) -> None:
    """InputError where the folder is there and QuantDuel did not make it."""
    if not is_own(found):
        raise InputError(f"QuantDuel did not make {found.folder}", "move it away, or delete it yourself")


def faults(found: Environment) -> list[str]:
    """What is wrong with an environment, a line each; imports what it is for, which takes seconds."""
    if not found.is_usable:
        return ["it is not whole"]
    differences = environments.wrong(found)
    wanted = environments.SHIPPED.get(found.name)
    if differences or wanted is None:
        return differences
    said = subprocess.run(
        [str(found.python), "-c", f"import {wanted.module}"],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=paths.neutral_folder(),
        env=_without_python_settings(),
        check=False,
    )
    last = (said.stderr.strip().splitlines() or ["no reason given"])[-1]
    return [f"{wanted.module} cannot be imported: {last}"] if said.returncode else []


def remove(found: Environment) -> None:
    """Delete an environment; InputError where it is being built, or somebody else's."""
    require_own(found)
    try:
        with FileLock(lock_file(found), timeout=0):
            _delete(found.folder)
    except Timeout as error:
        raise InputError(f"{found.name} is being built") from error
    if found.folder.exists():
        raise InputError(f"{found.folder} cannot be deleted whole", "look whose its files are")


def lock_file(found: Environment) -> Path:
    """The builder's lock."""
    found.folder.parent.mkdir(parents=True, exist_ok=True)
    return found.folder.parent / f".{found.name}.lock"


def _suitable(wanted: Pinned, python: str) -> str:
    version = _version(python)
    if version is None:
        raise InputError(f"{python} is no Python", "expected the path of a Python, 3.11 or newer")
    if version < (3, 11) or not wanted.takes(version):
        shown = ".".join(map(str, version[:2]))
        newest = (
            "or newer"
            if wanted.newest_python is None
            else f"to {wanted.newest_python[0]}.{wanted.newest_python[1]}"
        )
        raise InputError(f"{wanted.name} needs Python 3.11 {newest}, and {python} is {shown}")
    return python


def _version(python: str) -> tuple[int, ...] | None:
    ask = "import sys, json; print(json.dumps(sys.version_info[:3]))"
    try:
        said = subprocess.run([python, "-I", "-c", ask], capture_output=True, timeout=20, check=True).stdout
        return tuple(json.loads(said))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _without_python_settings() -> dict[str, str]:
    """What is set here, but what would lead the new Python to packages of another one."""
    return {
        key: value for key, value in paths.environment().items() if key not in {"PYTHONPATH", "PYTHONHOME"}
    }


def _words(found: "re.Match[str]") -> str:
    what = {
        "Collecting": "looking for",
        "Processing": "taking",
        "Downloading": "downloading",
        "Building wheel for": "building",
        "Installing collected": "installing all packages",
    }[found[1]]
    size = f" ({size[1]})" if (size := _SIZE.search(found[3])) else ""
    name = "" if found[1] == "Installing collected" else " " + found[2].rsplit("/", 1)[-1]
    return f"{what}{name}{size}"


def _delete(folder: Path) -> None:
    """Its mark goes first and BEGUN last: a half-deleted one does not count, and is deleted or made again."""
    begun = folder / BEGUN
    with suppress(OSError):
        begun.touch()
        (folder / MARK).unlink(missing_ok=True)
        for place in folder.iterdir():
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place, ignore_errors=True)
            elif place != begun:
                place.unlink()
        if list(folder.iterdir()) == [begun]:
            shutil.rmtree(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
