"""What libraries raise while a model loads, in one line with a hint.

Owns the wording. The whole traceback is in the worker's log.
"""

import errno
import re

from engine import paths
from engine.config.profile import Profile
from engine.config.sources import GgufFile
from engine.errors import LoadError, OutOfMemoryError, QuantDuelError
from engine.worker.host import memory

HINT_GGUF = "its metadata may be damaged or incomplete: download the file again, or convert the model anew"
HINT_LOG = "the worker's log has the details"
HINT_DISK = "free some space, or set QUANTDUEL_HOME or HF_HOME to another disk"
UNWRITABLE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than this process may write (ulimit -f)",
    errno.EROFS: "the file system is read-only",
}
"""What writing alone can end with."""
_RUST = re.compile(r"\(os error (\d+)\)")
_INSTALL = re.compile(r"pip install (?:-\S+ )*['\"]?([A-Za-z][\w.-]*)")


def explained(error: Exception, profile: Profile) -> QuantDuelError:
    """The error as a LoadError; one that is already written for the user stays."""
    if isinstance(error, QuantDuelError):
        return error
    source, said = profile.model.source, first_line(error)
    if memory.is_out_of_memory(error):
        hint = "try a smaller model or fewer bits, `device: split` over several GPUs, or `device: cpu`"
        short = memory.shortage(error)
        return OutOfMemoryError(f"{source} does not fit in memory ({profile.label}): {short}", hint)
    if unwritten := _unwritten(error):
        return unwritten
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        return LoadError(
            f"{source} needs Python code from its repository",
            "read that code, then `trust_remote_code: true`",
        )
    if isinstance(error, ImportError):
        return _missing_package(error, source)
    hint = f"{HINT_GGUF}; {HINT_LOG}" if isinstance(profile.source, GgufFile) else HINT_LOG
    return LoadError(f"{source} could not be loaded: {said}", hint)


def _unwritten(error: Exception) -> LoadError | None:
    """That a file could not be written, and where that is known; safetensors says the number in its text."""
    said = _RUST.search(str(error))
    number = error.errno if isinstance(error, OSError) else int(said[1]) if said else None
    if number not in UNWRITABLE:
        return None
    place = error.filename if isinstance(error, OSError) else f"a checkpoint below {paths.cache()}"
    where = f": {place} could not be written" if place else ""
    return LoadError(f"{UNWRITABLE[number]}{where}", HINT_DISK)


def _missing_package(error: ImportError, source: str) -> LoadError:
    package = found[1] if (found := _INSTALL.search(str(error))) else error.name
    message = f"{source} needs a package that is missing here: {package or first_line(error)}"
    return LoadError(message, f"pip install {package}" if package else "")


def first_line(error: Exception) -> str:
    """The error's type and its first line; after a heading, which ends with a colon, the next line too."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    return f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__
