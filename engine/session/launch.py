"""Which command starts a profile's worker, in another Python here or elsewhere, and what is missing for it.

Knows where environments are; starts nothing.
"""

import shutil
import sys
from pathlib import Path

from msgspec.structs import replace

from engine import paths
from engine.config import environments
from engine.config.methods import Full, Savable
from engine.config.profile import Profile
from engine.config.serving import place
from engine.config.serving.serve import Serve
from engine.config.sources import Demo
from engine.config.worker_place import Worker
from engine.errors import LoadError
from engine.machine import nvidia, packages
from engine.protocol.failure import Failed

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
TETHERED = Path(__file__).with_name("tethered.py")
SERVER_S = 25.0  # more than its guard takes in the worst case: engine/worker/served/own/guard.py


def command(worker: Worker) -> tuple[str, ...]:
    """The program and its arguments; nothing for a worker in this Python."""
    if worker.is_elsewhere:
        return (sys.executable, "-I", "-S", str(TETHERED), *worker.launch_words)
    python = _python(worker)
    return (str(python), str(BOOTSTRAP)) if python else ()


def settings(profile: Profile) -> dict[str, str]:
    """What its environment says of devices; elsewhere that is said there."""
    if profile.worker.is_elsewhere:
        return {}
    is_spread = profile.serve is not None and profile.serve.gpus > 1
    return nvidia.environment("split" if is_spread else profile.model.device)


def lacking(profile: Profile) -> Failed | None:
    """Why no worker could load this here: a package of its method, or its Python, is missing."""
    worker = profile.runs_in
    if not worker.is_own:
        return lacking_at(worker)
    if profile.serve is not None:
        return _lacking_server(profile.serve)
    if profile.is_served:
        return None
    absent = packages.missing(packages.library(profile.quantization))
    if absent is None:
        return None
    return Failed(kind="not_loaded", message=f"{profile.label} {absent.message}", hint=absent.hint)


def lacking_at(worker: Worker) -> Failed | None:
    """Why no worker can be started there, as far as this machine knows."""
    if worker.is_elsewhere:
        return _no_program(worker.launch_words[0])
    if worker.environment is not None:
        absent = environments.missing(worker.environment)
        return Failed(kind="not_loaded", message=absent.message, hint=absent.hint) if absent else None
    python = _python(worker)
    if python is None or shutil.which(python):
        return None
    found = "cannot be run" if paths.answers(Path.is_file, python) else "is not there"
    return Failed(kind="not_loaded", message=f"worker.python: {python} {found}")


def _lacking_server(serve: Serve) -> Failed | None:
    """Why the server cannot be started here: before a checkpoint is made for it."""
    try:
        place.python(serve)
    except LoadError as error:
        return Failed(kind="not_loaded", message=error.message, hint=error.hint)
    return None


def _no_program(word: str) -> Failed | None:
    hint, message = "", f"worker.launch: there is no program {word} here"
    if "/" in word and not word.startswith("/"):
        hint = "name it in full: no shell reads the command, and it is started in the root folder"
    elif shutil.which(word) is None:
        hint = "its first word is a program of this machine"
    return Failed(kind="not_loaded", message=message, hint=hint) if hint else None


def first(profile: Profile) -> Profile | None:
    """What a worker of QuantDuel's own makes before the profile's can load; None for nothing.

    A server that is started reads folders alone: a method's checkpoint is made for it. And the demo is
    converted here, for another Python would do it otherwise.
    """
    if profile.serve is not None and isinstance(profile.quantization, Savable):
        return replace(profile, serve=None)
    place = profile.runs_in
    is_other = (not place.is_own or profile.serve is not None) and not place.is_elsewhere
    if is_other and isinstance(profile.source, Demo) and not any(_demo().glob("*/config.json")):
        model = replace(profile.model, device="cpu", dtype="bfloat16")
        return replace(profile, model=model, quantization=Full(), worker=Worker(), serve=None)
    return None


def farewell_s(profile: Profile) -> float:
    """How long what a worker has started may take to end after it: a server is asked before it is killed."""
    return SERVER_S if profile.serve is not None else 0.0


def _demo() -> Path:
    return paths.cache() / "demo"


def not_started(error: OSError) -> Failed:
    """Why the system has no process to give."""
    hint = "close other programs, or raise the limit (`ulimit -n`, `ulimit -u`)"
    message = f"cannot start a worker: {error.strerror or error}"
    return Failed(kind="worker_lost", message=message, hint=hint)


def _python(worker: Worker) -> Path | None:
    """The Python that is not QuantDuel's own; None where there is no such one."""
    if worker.environment is not None:
        return environments.environment(worker.environment).python
    return Path(worker.python) if worker.python is not None else None
