"""Where QuantDuel keeps its files. The only module that reads environment variables.

Folders follow each system's custom (XDG on Linux); `QUANTDUEL_HOME` puts all of them below one folder.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

import profiles
from engine.errors import InputError
from engine.sanitize import without_userinfo


def expanded(path: Path | str) -> Path:
    """The path with `~` and `~user` written out; InputError where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{path}: there is no such home folder", "write the path out") from error


def followed(path: Path | str) -> Path:
    """The path as `expanded`, links followed; InputError where these lead in a circle."""
    try:
        found = expanded(path).resolve()
        is_circle = found.is_symlink()  # from Python 3.13 on
    except RuntimeError:
        is_circle = True
    if is_circle:
        raise InputError(f"{path}: its links lead in a circle", "choose another name")
    return found


def answers(question: Callable[[Path], bool], path: Path) -> bool:
    """Whether it is so, as `Path.is_dir` would say; of a path that cannot be, or be asked, it is not."""
    try:
        return question(path)
    except (OSError, ValueError):  # no permission, a name too long, a NUL
        return False


def _folder(kind: str) -> Path:
    home = os.environ.get("QUANTDUEL_HOME")
    if home:
        return expanded(home) / kind
    folders = {
        "cache": _dirs.user_cache_dir,
        "config": _dirs.user_config_dir,
        "data": _dirs.user_data_dir,
        "state": _dirs.user_state_dir,
    }
    return Path(folders[kind])


_dirs = platformdirs.PlatformDirs("quantduel", appauthor=False)


def cache() -> Path:
    """Fetched and converted models: safe to delete, costs a download."""
    return _folder("cache")


def results() -> Path:
    """The file that keeps blind turns, votes and runs: nothing can restore it. Its name is an old one."""
    return _folder("data") / "history.sqlite3"


def duels() -> Path:
    """The file that keeps every duel."""
    return _folder("data") / "duels.sqlite3"


def environments() -> Path:
    """Python environments by name, for models that need other libraries than QuantDuel's own."""
    return _folder("data") / "environments"


def tested() -> Path:
    """The file that keeps what models answered to sets of questions."""
    return _folder("data") / "tested.sqlite3"


def logs() -> Path:
    """One bounded log per worker process."""
    return _folder("state") / "logs"


def user_config() -> Path:
    """The user's settings of the application."""
    return _folder("config") / "config.yaml"


def completion() -> str:
    """What a shell asks for, such as `bash_complete`, where it is completing a command line; else empty."""
    return os.environ.get("_QUANTDUEL_COMPLETE", "")


def user_profiles() -> Path:
    """The user's own profiles."""
    return _folder("config") / "profiles"


def shipped_profiles() -> Path:
    """The profiles that come with QuantDuel."""
    return Path(profiles.__file__).parent


def profile_folders(more: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Where a profile's name is looked up, first hit wins; `more` are folders that the user named."""
    return (Path("profiles"), user_profiles(), *more, shipped_profiles())


_FOLDERS = (  # variables that name one, as QuantDuel and the libraries of its workers read them
    *("QUANTDUEL_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "HF_DATASETS_CACHE", "HF_MODULES_CACHE", "HF_XET_CACHE"),
    *("TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "NUMBA_CACHE_DIR", "CUDA_CACHE_PATH"),
)
GPU = "QUANTDUEL_GPU"  # what a worker's one device is called outside


def visible_devices() -> list[str] | None:
    """The entries of CUDA_VISIBLE_DEVICES; None where it is not set."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if value is None else value.split(",") if value.strip() else []


def worker_gpu() -> int | None:
    """In a worker that sees one GPU alone, as its `cuda:0`: that GPU's number outside. Else None."""
    value = os.environ.get(GPU, "")
    return int(value) if value.isdecimal() else None


def step() -> str:
    """The most that may decode: `compiled`, `native` or `forward` (engine/worker/step/README.md)."""
    return os.environ.get("QUANTDUEL_STEP") or ""


@contextmanager
def linked_from(folder: str) -> Iterator[None]:
    """Within it compilers look for libraries in this folder, too, before those of LIBRARY_PATH."""
    before = os.environ.get("LIBRARY_PATH")
    os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, (folder, before)))
    try:
        yield
    finally:
        del os.environ["LIBRARY_PATH"]
        if before is not None:
            os.environ["LIBRARY_PATH"] = before


def c_compiler() -> str:
    """The command that CC names; empty where it names none."""
    return os.environ.get("CC", "")


def environment(python: str = sys.executable) -> dict[str, str]:
    """A copy of everything that is set, for a worker, which runs in another folder: what names folders is
    absolute. What pip installed next to its Python (ninja) is on its PATH.
    """
    found = dict(os.environ)
    for name in _FOLDERS:
        if value := found.get(name):
            found[name] = str(Path(value).expanduser().absolute())
    if "PYTHONPATH" in found:
        entries = found["PYTHONPATH"].split(os.pathsep)
        found["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in entries if entry)
    folders = found.get("PATH", os.defpath).split(os.pathsep)
    own = str(Path(python).parent)
    return found if own in folders else found | {"PATH": os.pathsep.join((*folders, own))}


def neutral_folder() -> Path:
    """Where workers start: libraries take settings, modules and models out of the folder they are in."""
    return Path(Path(sys.executable).anchor)


def hub_cache() -> Path:
    """Where huggingface_hub keeps its downloads (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME)."""
    if explicit := os.environ.get("HF_HUB_CACHE"):
        return expanded(explicit)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return expanded(home) / "hub"


def hub_endpoint() -> str:
    """The model hub's address (HF_ENDPOINT), to be shown: without the name and password it may have."""
    return without_userinfo(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).rstrip("/")


def hub_is_offline() -> bool:
    """Whether the user forbade the model hub (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE)."""
    return any(
        os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def hub_token_is_set() -> bool:
    """Whether there is a token for the model hub (HF_TOKEN, HF_TOKEN_PATH, or what `hf auth login` wrote)."""
    if os.environ.get("HF_TOKEN"):
        return True
    file = Path(os.environ.get("HF_TOKEN_PATH") or hub_cache().parent / "token")
    return answers(Path.is_file, expanded(file))


def key(name: str) -> str | None:
    """A server's key, out of the variable that the user named for it; None where that is not set."""
    return os.environ.get(name) or None


_ERASE_IN_COLOUR = (
    *("xterm", "tmux", "alacritty", "foot", "kitty", "wezterm", "ghostty", "konsole", "iterm"),
    *("rxvt", "linux", "st-"),
)


@dataclass(frozen=True, slots=True)
class Terminal:
    """What the environment says about the terminal."""

    name: str
    """TERM, such as `xterm-256color`."""
    true_colour: bool
    wants_colour: bool
    inside_tmux: bool
    over_ssh: bool
    is_browser: bool = False
    """Whether `quantduel serve` shows this process in a browser."""

    @property
    def erases_in_colour(self) -> bool:
        """Whether it is known that erased cells take the ground of the pen; GNU screen's do not."""
        return self.name.startswith(_ERASE_IN_COLOUR)

    @property
    def is_plain(self) -> bool:
        """Whether it knows no escape sequences."""
        return self.name in {"", "dumb"}


def terminal() -> Terminal:
    """The terminal, by TERM, COLORTERM, NO_COLOR, TMUX and SSH_CONNECTION."""
    name = os.environ.get("TERM", "")
    return Terminal(
        name=name,
        true_colour=os.environ.get("COLORTERM", "") in {"truecolor", "24bit"},
        wants_colour=not os.environ.get("NO_COLOR") and name not in {"", "dumb"},
        inside_tmux="TMUX" in os.environ,
        over_ssh="SSH_CONNECTION" in os.environ,
        is_browser=os.environ.get("TERM_PROGRAM") == "textual" and "TEXTUAL_DRIVER" in os.environ,
    )
