"""What of a profile needs more than one key, or a look at files: its paths made absolute, its parts fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine import input_files, paths
from engine.config import strict_yaml
from engine.config.methods import Calibrated, Gguf, LlamaCpp, Stored, tag
from engine.config.profile import MOST_TEMPLATE_BYTES, Profile
from engine.config.serving import checks
from engine.config.sources import Demo, Folder, GgufFile, Hub
from engine.errors import FileError, ProfileError

S = TypeVar("S", bound=Struct)


def checked(profile: Profile, file: Path) -> Profile:
    """The profile with its paths made absolute, after the checks that need more than one key."""
    _require_text(profile, file)
    _require_fit_for_servers(profile, file)
    if profile.worker.is_elsewhere:
        _require_full_paths(profile, file)
        return _with_method(profile, file)
    folder = paths.expanded(file).absolute().parent
    for key, path in named_paths(profile).items():
        there = folder / paths.expanded(path)
        _require_usable(key, there, file)
        profile = _with(profile, key.split("."), str(there))
    match profile.source:
        case Hub(repo) if paths.answers(Path.is_dir, folder / repo):  # goes before a hub id
            profile = _with(profile, ["model", "source"], str(folder / repo))
    return _with_method(profile, file)


def named_paths(profile: Profile) -> dict[str, Path]:
    """Paths that a profile names, by their keys; in a file relative ones are seen from its folder."""
    source, serve, method = profile.source, profile.serve, profile.quantization
    named = {
        "model.source": source.path if isinstance(source, Folder | GgufFile) else None,
        "worker.python": profile.worker.python,
        "serve.python": serve.python if serve else None,
        "prompt.template": profile.prompt.file,
        "quantization.calibration.dataset": method.calibration.file
        if isinstance(method, Calibrated)
        else None,
    }
    return {key: Path(path) for key, path in named.items() if path is not None}


def require_template(path: Path, file: Path) -> None:
    """ProfileError where the template that `file` names cannot be read."""
    try:
        input_files.read_text(path, MOST_TEMPLATE_BYTES)
    except FileError as error:
        hint = "expected chat, raw, or a Jinja file"
        raise fault(file, "prompt.template", f"{error.problem}: {path}", hint) from None


def fault(file: Path, key: str, problem: str, hint: str = "") -> ProfileError:
    """What is wrong with a key of this file, with its line."""
    return ProfileError(file, problem, line=strict_yaml.line_of(file, key), key=key, hint=hint)


def _with(section: S, key: Sequence[str], value: object) -> S:
    """The same with another value at a key."""
    name, *below = key
    return replace(section, **{name: _with(getattr(section, name), below, value) if below else value})


def _require_usable(key: str, path: Path, file: Path) -> None:
    if key == "prompt.template":
        require_template(path, file)
    if key.endswith(".python") and not paths.answers(Path.is_file, path):
        raise fault(file, key, f"there is no such file: {path}", "expected the path of a Python")


def _with_method(profile: Profile, file: Path) -> Profile:
    """The profile with a method that reads its source; ProfileError where it cannot."""
    source = profile.source
    if isinstance(source, GgufFile) and isinstance(profile.quantization, Stored):
        profile = replace(profile, quantization=Gguf())
    method = profile.quantization
    if isinstance(method, Gguf | LlamaCpp) and not isinstance(source, GgufFile | Demo):
        problem = f"{tag(method)} reads a .gguf file (or the demo), and model.source is none"
        raise fault(file, "quantization.method", problem)
    if isinstance(method, LlamaCpp) and profile.cache.dtype == "fp8":
        raise fault(file, "cache.dtype", "llama.cpp has no FP8 cache", "expected int8, its q8_0, or auto")
    if isinstance(method, LlamaCpp) and profile.model.device not in {"auto", "cpu"}:
        raise fault(file, "model.device", "llama_cpp computes on the CPU", "expected auto or cpu")
    return profile


def _require_fit_for_servers(profile: Profile, file: Path) -> None:
    """ProfileError where a server is to do what it does not, or something else to be asked like one."""
    wrong = checks.misfit(profile, profile.prompt.template, profile.model.device, profile.cache.dtype)
    if wrong:
        key, problem, hint = wrong
        raise fault(file, key, problem, hint)


def _require_text(profile: Profile, file: Path) -> None:
    """ProfileError where a text is no UTF-8: a lone surrogate, or a name of other bytes."""
    for section in reversed(profile.__struct_fields__):
        try:
            msgspec.json.encode(getattr(profile, section))
        except UnicodeEncodeError:
            raise fault(file, section, "has text in it that is not UTF-8") from None


def _require_full_paths(profile: Profile, file: Path) -> None:
    """ProfileError where a path depends on a folder: of another machine nobody is in one."""
    for key, path in named_paths(profile).items():
        if not str(path).startswith(("/", "~")):
            hint = "write it in full, as it is at the other end of worker.launch; ~ is the home folder there"
            raise fault(file, key, f"{path} is a file of another machine, seen from no folder", hint)
