"""Where calibration and held-out text comes from: Python's documentation, files, lists, the model hub.

Owns the named sets. Tokenizes nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from engine import input_files, paths
from engine.config import text_files
from engine.config.texts import PYTHON_DOCS, Calibration
from engine.errors import LoadError

HELD_OUT_EVERY = 8  # of the documentation's topics; these are never calibrated with
HELD_OUT_NAME = "python-docs, every eighth topic"


@dataclass(frozen=True, slots=True)
class HubSet:
    """A data set on the model hub, and how its rows become one text."""

    repo: str
    field: str
    between: str
    config: str | None = None
    files: str | None = None
    revision: str | None = None
    split: str = "train"


_PARQUET = "refs/convert/parquet"  # the hub's own conversion of sets that are written as Python code
_PTB = {
    "repo": "ptb-text-only/ptb_text_only",
    "field": "sentence",
    "config": "penn_treebank",
    "revision": _PARQUET,
}
HUB = {  # as GPTQ's and AWQ's papers use them
    "wikitext2": HubSet("Salesforce/wikitext", "text", "\n\n", config="wikitext-2-raw-v1"),
    "c4": HubSet("allenai/c4", "text", "\n\n", files="en/c4-train.00000-of-01024.json.gz"),
    "c4-new": HubSet("allenai/c4", "text", " ", files="en/c4-train.00000-of-01024.json.gz"),
    "ptb": HubSet(between="\n\n", **_PTB),
    "ptb-new": HubSet(between=" ", **_PTB),
}


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts in their own order, and the separator between two of them."""

    texts: Sequence[str]
    between: str = "\n\n"


def texts(calibration: Calibration) -> Texts:
    """The texts a calibration names, the empty ones left out; LoadError where they cannot be read."""
    if isinstance(calibration.dataset, tuple):
        return Texts(calibration.dataset)
    if calibration.dataset == PYTHON_DOCS:
        return Texts(python_docs(held_out=False))
    if calibration.file is not None:
        return Texts(text_files.texts(calibration.file))
    wanted = HUB[calibration.dataset]
    rows = hub_rows(f"the calibration set {calibration.dataset}", wanted)
    return Texts([text for text in rows if text.strip()], wanted.between)


def python_docs(*, held_out: bool) -> list[str]:
    """CPython's `pydoc_data.topics` (465 000 characters in 3.11): one part to calibrate, one to check."""
    from pydoc_data.topics import topics

    names = sorted(topics)
    return [topics[name] for index, name in enumerate(names) if (index % HELD_OUT_EVERY == 0) == held_out]


def sha256(calibration: Calibration) -> str:
    """Of the text on this machine; empty for a hub set, which its name identifies."""
    if calibration.file is not None:
        with input_files.opened(calibration.file) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if calibration.dataset == PYTHON_DOCS:
        return hashlib.sha256("\0".join(python_docs(held_out=False)).encode()).hexdigest()
    return ""


def hub_rows(what: str, wanted: HubSet) -> Sequence[str]:
    """A data set's texts, row by row; LoadError, which begins with `what`, where it cannot be downloaded."""
    try:
        import datasets
    except ImportError:
        raise LoadError(f"{what} needs the package datasets", "pip install datasets") from None
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(
            wanted.repo, wanted.config, data_files=wanted.files, revision=wanted.revision, split=wanted.split
        )
    except Exception as error:  # whatever its many layers raise
        raise LoadError(_unreachable(what, wanted, error), "`python-docs` needs no network") from error
    found: Sequence[str] = rows[wanted.field]
    return found


def _unreachable(what: str, wanted: HubSet, error: Exception) -> str:
    if paths.hub_is_offline():
        return f"{what} is not on this disk, and the model hub is switched off"
    reason = (str(error).splitlines() or [""])[0][:120]
    return f"{what} ({wanted.repo}) cannot be downloaded from {paths.hub_endpoint()}: {reason}"
