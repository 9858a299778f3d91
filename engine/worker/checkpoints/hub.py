"""A repository on the model hub, downloaded into huggingface_hub's own cache: safetensors, never pickles.

Owns the choice of files and the meaning of the hub's errors. Knows nothing of models.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NoReturn

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from engine import paths
from engine.errors import LoadError
from engine.protocol.loading import Staged
from engine.worker.progress import Progress, Report, ReportedBar

TIMEOUT_S = 10.0
_SETTINGS = ("*.json", "*.jinja", "*.model", "*.tiktoken", "merges.txt", "vocab.txt")
_WEIGHTS = ("model.safetensors", "model-*.safetensors", "gptq_model-*.safetensors")
_CODE = ("*.py",)
_LOG_IN = "`hf auth login`, or set HF_TOKEN"


@dataclass(frozen=True, slots=True)
class Repository:
    """A hub id at a revision, and whether its Python code is wanted too."""

    name: str
    revision: str
    with_code: bool = False

    @property
    def url(self) -> str:
        """Its page on the hub."""
        return f"{paths.hub_endpoint()}/{self.name}"


def snapshot(repository: Repository, report: Report) -> Path:
    """The folder with the repository's files; LoadError says in one line why there is none."""
    report(Staged(stage="resolve", subject=repository.name))
    if paths.hub_is_offline():
        return _cached(repository) or _refuse_offline(repository)
    try:
        return _online(repository, report)
    except LoadError:
        raise
    except Exception as error:
        if _is_unreachable(error) and (folder := _cached(repository)):
            return folder
        raise _explained(error, repository) from error


def commit(repository: Repository) -> str | None:
    """The revision's current commit, from the hub or the last download; None where neither knows."""
    if not paths.hub_is_offline():
        try:
            return _api().model_info(repository.name, revision=repository.revision, timeout=TIMEOUT_S).sha
        except Exception as error:
            if not _is_unreachable(error):
                return None  # the download, which follows, reports why
    config = try_to_load_from_cache(repository.name, "config.json", revision=repository.revision)
    return Path(config).parent.name if isinstance(config, str) else None


def _online(repository: Repository, report: Report) -> Path:
    sizes = _listing(repository)
    wanted = _wanted(sizes, repository)
    missing_bytes = sum(sizes[name] for name in wanted if not _is_cached(repository, name))
    _require_disk_space(missing_bytes)
    progress = Progress(
        report, Staged(stage="download", subject=repository.name, total=missing_bytes, unit="bytes")
    )
    return Path(
        snapshot_download(
            repository.name,
            revision=repository.revision,
            allow_patterns=wanted,
            etag_timeout=TIMEOUT_S,
            tqdm_class=_byte_bar(progress.reach if missing_bytes else _ignore),
        )
    )


def _ignore(done: int, total: int) -> None:
    """Nothing is downloaded: nothing is reported."""


def _byte_bar(show: Callable[[int, int], None]) -> type[ReportedBar]:
    """A class of bars for huggingface_hub; those that count written bytes call `show`."""

    class ByteBar(ReportedBar):
        def __init__(self, *args: Any, **options: Any) -> None:
            counts_bytes = options.get("unit") == "B" and "Downloading" not in options.get("desc", "")
            options.pop("name", None)
            super().__init__(*args, show=show if counts_bytes else _ignore, **options)

    return ByteBar


def _listing(repository: Repository) -> dict[str, int]:
    """Every file at the repository's root with its size in bytes."""
    info = _api().model_info(
        repository.name, revision=repository.revision, files_metadata=True, timeout=TIMEOUT_S
    )
    return {file.rfilename: file.size or 0 for file in info.siblings or [] if "/" not in file.rfilename}


def _api() -> HfApi:
    return HfApi(library_name="quantduel")


def _wanted(names: Iterable[str], repository: Repository) -> list[str]:
    """The files a model needs; LoadError where the weights are in no supported format."""
    weights = _matching(names, _WEIGHTS)
    if not weights:
        raise LoadError(f"{repository.name} has no safetensors weights", _other_weights(names, repository))
    patterns = _SETTINGS + (_CODE if repository.with_code else ())
    return weights + _matching(names, patterns)


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def _other_weights(names: Iterable[str], repository: Repository) -> str:
    if others := [name for name in names if name.endswith(".safetensors")]:
        return f"it has {others[0]}, a file name that transformers does not look for"
    if any(name.endswith(".gguf") for name in names):
        return "it has GGUF files: download one and give its path as model.source"
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names):
        return "it has only pickles, which can run code and are never read: look for a safetensors conversion"
    return f"see {repository.url}/tree/{repository.revision}"


def _is_cached(repository: Repository, name: str) -> bool:
    return isinstance(try_to_load_from_cache(repository.name, name, revision=repository.revision), str)


def _require_disk_space(needed_bytes: int) -> None:
    cache = paths.hub_cache()
    cache.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(cache).free
    if free_bytes < needed_bytes:
        need = f"{needed_bytes / 2**30:.1f} GiB to download, {free_bytes / 2**30:.1f} GiB free"
        raise LoadError(
            f"not enough disk space in {cache}: {need}", "free some space, or set HF_HOME to another disk"
        )


def _cached(repository: Repository) -> Path | None:
    """The folder of an earlier download, if it has weights."""
    try:
        folder = Path(
            snapshot_download(
                repository.name,
                revision=repository.revision,
                allow_patterns=[*_SETTINGS, *_WEIGHTS],
                local_files_only=True,
            )
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if _matching((file.name for file in folder.iterdir()), _WEIGHTS) else None


def _refuse_offline(repository: Repository) -> NoReturn:
    raise LoadError(
        f"{repository.name} is not in {paths.hub_cache()}, and the model hub is switched off",
        "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE to download it",
    )


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether the hub could not be reached. By class names: huggingface_hub changed its HTTP library."""
    if error is None or isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        return False
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    names = {base.__name__ for base in type(error).__mro__}
    is_transport = bool(names & {"TransportError", "RequestException"}) or isinstance(
        error, OfflineModeIsEnabled
    )
    return is_transport or _is_unreachable(error.__cause__)


def _explained(error: BaseException, repository: Repository) -> LoadError:
    """The hub's error as one line, with what to do."""
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__:
        return _explained(error.__cause__, repository)
    for kind, message, hint in _refusals(repository):
        if isinstance(error, kind):
            return LoadError(message, hint)
    if isinstance(error, HfHubHTTPError):
        return _explained_status(error, repository)
    if _is_unreachable(error):
        hint = "check the network and HF_ENDPOINT; `source: demo` and local folders need no hub"
        return LoadError(f"the model hub at {paths.hub_endpoint()} cannot be reached", hint)
    said = (str(error) or type(error).__name__).splitlines()[0]
    return LoadError(
        f"{repository.name} could not be downloaded: {said}", f"the cache is {paths.hub_cache()}"
    )


def _refusals(repository: Repository) -> tuple[tuple[type[Exception], str, str], ...]:
    """Kind of error, message, hint; the first that fits."""
    name, url, revision = repository.name, repository.url, repository.revision
    spelling = f"check the spelling; if it is private: {_LOG_IN}"
    return (
        (GatedRepoError, f"{name} is gated", f"accept its licence at {url}, then {_LOG_IN}"),
        (RepositoryNotFoundError, f"the model hub has no {name}, or it is private", spelling),
        (RevisionNotFoundError, f"{name} has no revision {revision!r}", f"see {url}/tree/main"),
        (HFValidationError, f"{name!r} is not a valid name on the model hub", "names look like org/name"),
    )


def _explained_status(error: HfHubHTTPError, repository: Repository) -> LoadError:
    status = error.response.status_code
    if status in {401, 403}:
        return LoadError(
            f"the model hub refuses {repository.name} ({status})", f"see {repository.url}, then {_LOG_IN}"
        )
    if status == 429:
        return LoadError("the model hub answers: too many requests (429)", f"wait a little, or {_LOG_IN}")
    return LoadError(f"the model hub at {paths.hub_endpoint()} answers {status}", "try again later")
