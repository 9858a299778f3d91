"""Which profile a user means: a file, a name in one of the folders, or straight a model.

Owns what a profile of the folder one is in may not switch on. Loads nothing.
"""

from collections.abc import Iterable
from pathlib import Path

from engine import paths
from engine.config.faults import nearest
from engine.config.profile import Model, Profile
from engine.config.profiles import origin
from engine.config.profiles.checking import checked, fault
from engine.config.profiles.reading import read
from engine.config.sources import Served, parse_source
from engine.errors import InputError, ProfileError
from engine.sanitize import visible

CODE_KEYS = ("model.trust_remote_code", "worker.python", "worker.launch", "remote.key_env", "serve.engine")


def find(name: str, *, allowed: Iterable[str] = ()) -> Profile:
    """The profile a user means: a file, a profile's name, or straight a model (folder, GGUF file, hub id).

    One of `./profiles` found by its name switches on code, the model's or a program, only where that key is
    `allowed`, such as `model.trust_remote_code`.
    """
    if file := file_of(name):
        found = read(file)
        if name.endswith((".yaml", ".yml")) or origin.of(file) != "./profiles":
            return found
        for key in code_keys(found):
            if key not in allowed:
                raise _code_refused(file, key)
        return found
    is_there = paths.answers(Path.exists, paths.expanded(name))
    if is_there or "/" in name or name == "demo" or name.startswith("random:"):
        return of_model(name)
    if name.lower().endswith(".gguf"):
        raise InputError(f"{name!r}: no such file", "give the path to it from the folder you are in")
    hint = nearest(name, available()) or "`quantduel profiles list` shows all"
    raise InputError(f"no profile named {name!r}", hint)


def code_keys(profile: Profile) -> list[str]:
    """The keys by which a profile runs code that is not QuantDuel's, or sends a key away, of CODE_KEYS."""
    worker, key_env = profile.worker, profile.remote.key_env
    are_set = (
        profile.model.trust_remote_code,
        worker.python is not None,
        worker.launch is not None,
        key_env is not None,
        profile.serve is not None,
    )
    return [key for key, is_set in zip(CODE_KEYS, are_set, strict=True) if is_set]


def file_of(name: str) -> Path | None:
    """The file that `find` reads for this name; None where it means a bare model."""
    if name.endswith((".yaml", ".yml")):
        return paths.expanded(name)
    return available().get(visible(name, keep_newlines=False))


def of_model(source: str) -> Profile:
    """A profile for a bare model: as stored, with the tokenizer's own template."""
    path = paths.expanded(source)
    if paths.answers(Path.exists, path):
        source = str(path.absolute())
    parsed = parse_source(source)
    name = parsed.address if isinstance(parsed, Served) else origin.shown_name(Path(source))
    return checked(Profile(name=name, model=Model(source=source)), path)


def available() -> dict[str, Path]:
    """Every profile's file by name; a folder earlier in the search order wins."""
    found: dict[str, Path] = {}
    for folder in origin.folders():
        for file in origin.yaml_files(folder):
            found.setdefault(origin.shown_name(file), file)
    return dict(sorted(found.items()))


def _code_refused(file: Path, key: str) -> ProfileError:
    values = {
        "model.trust_remote_code": ("true", "run a model's code"),
        "remote.key_env": ("NAME", "send a key"),
        "serve.engine": ("vllm", "start a server"),
    }
    value, what = values.get(key, ("…", "run a program"))
    hint = (
        f"read it; then name its file, {file}, move it to {paths.user_profiles()}, or give "
        f"--set {key}={value}"
    )
    problem = f"a profile of the folder you are in does not {what} by its name alone"
    return fault(file, key, problem, hint)
