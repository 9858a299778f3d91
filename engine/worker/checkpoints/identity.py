"""A source's content in one line: the part of a recipe that says which model was quantized.

Owns the hashes of local folders. A hub snapshot has its commit, the demo its file's checksum, random weights
their shape's name.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

import msgspec

from engine import paths
from engine.config.atomic import replacing
from engine.config.profile import Profile
from engine.config.record import Record
from engine.config.sources import Demo, Folder, GgufFile, Hub, Random
from engine.errors import InputError, LoadError
from engine.protocol.loading import Staged
from engine.worker.checkpoints import demo, hub, stored_tensors
from engine.worker.checkpoints.checkpoint import Checkpoint
from engine.worker.progress import Progress, Report

_CONTENT = ("*.safetensors", "config.json", "tokenizer*", "*.model", "vocab.json", "merges.txt")
_Memo = dict[str, str]  # files with their sizes and times: the SHA-256 of their content


def early(profile: Profile) -> str | None:
    """The same as `identity` says later, before the source is here; None where that cannot be known."""
    wish = profile.model
    match profile.source:
        case Demo():
            return f"demo@{demo.GGUF_SHA256[:16]}"
        case Hub(repo):
            commit = hub.commit(hub.Repository(repo, wish.revision, wish.trust_remote_code))
            return f"{repo}@{commit}" if commit else None
        case _:
            return None


def identity(profile: Profile, checkpoint: Checkpoint, report: Report) -> str:
    """The source's name with a hash or revision of its content."""
    match profile.source:
        case Demo():
            return f"demo@{demo.GGUF_SHA256[:16]}"
        case Hub(repo):
            return f"{repo}@{checkpoint.path.name}"  # a snapshot's folder is named by its commit
        case Random(shape):
            return f"random:{shape}@{_sha256([checkpoint.path], report)[:16]}"
        case GgufFile(path):
            return of_gguf(paths.expanded(path), report)
        case Folder():
            return f"folder@{folder_sha256(checkpoint.path, report)[:16]}"
        case _:
            return str(checkpoint.path)


def of_gguf(file: Path, report: Report) -> str:
    """The content of a GGUF file, wherever it lies."""
    return f"gguf@{_kept_sha256([file], report)[:16]}"


def folder_sha256(folder: Path, report: Report) -> str:
    """Of the files that are loaded, and that a quantizer reads."""
    files = {file for pattern in _CONTENT for file in folder.glob(pattern) if file.is_file()}
    return _kept_sha256(sorted(files), report)


def require_as_made(folder: Path, record: Record, hint: str, report: Report) -> None:
    """LoadError where its files are not those that were put into the store: figures of it would be wrong."""
    try:
        stored_tensors.require_whole(folder)
    except LoadError as error:
        raise LoadError(error.message, hint) from error
    if record.content_sha256 not in ("", folder_sha256(folder, report)):
        raise LoadError(f"{folder} is damaged: its files are not those that were made", hint)


def _kept_sha256(files: list[Path], report: Report) -> str:
    """Cached for as long as they are the same files of the same sizes and times, wherever they are moved."""
    stats = [(file.name, *_stat(file)) for file in files]
    key = hashlib.sha256(msgspec.json.encode(stats)).hexdigest()
    memo = _read_memo()
    if key not in memo:
        memo = {**memo, key: _sha256(files, report)}
        _write_memo(memo)
    return memo[key]


def _stat(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _sha256(files: list[Path], report: Report) -> str:
    digest, done = hashlib.sha256(), 0
    total = sum(file.stat().st_size for file in files)
    progress = Progress(report, Staged(stage="resolve", step="hash source", total=total, unit="bytes"))
    for file in files:
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as content:
            while block := content.read(1 << 22):
                digest.update(block)
                done += len(block)
                progress.reach(done)
    return digest.hexdigest()


def _memo_file() -> Path:
    return paths.cache() / "content-hashes.json"


def _read_memo() -> _Memo:
    try:
        return msgspec.json.decode(_memo_file().read_bytes(), type=_Memo)
    except (OSError, msgspec.MsgspecError):
        return {}


def _write_memo(memo: _Memo) -> None:
    with suppress(InputError), replacing(_memo_file()) as unfinished:  # a folder may be read-only
        unfinished.write_bytes(msgspec.json.encode(memo))
