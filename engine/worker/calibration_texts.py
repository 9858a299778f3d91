"""Where calibration and held-out text comes from: Python's documentation, files, lists, the model hub.

Owns the named sets. Tokenizes nothing.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import paths
from engine.calibration import PYTHON_DOCS, Calibration
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
    """Texts in their own order, and what stands between two of them."""

    texts: Sequence[str]
    between: str = "\n\n"


def texts(calibration: Calibration) -> Texts:
    """The texts a calibration names, the empty ones left out; LoadError where they cannot be had."""
    if isinstance(calibration.dataset, tuple):
        return Texts(calibration.dataset)
    if calibration.dataset == PYTHON_DOCS:
        return Texts(python_docs(held_out=False))
    if calibration.file is not None:
        return Texts(of_file(calibration.file))
    wanted = HUB[calibration.dataset]
    rows = hub_rows(f"the calibration set {calibration.dataset}", wanted)
    return Texts([text for text in rows if text.strip()], wanted.between)


def python_docs(*, held_out: bool) -> list[str]:
    """CPython's `pydoc_data.topics` (465 000 characters in 3.11): one part to calibrate, one to check."""
    from pydoc_data.topics import topics

    names = sorted(topics)
    return [topics[name] for index, name in enumerate(names) if (index % HELD_OUT_EVERY == 0) == held_out]


def sha256(calibration: Calibration) -> str:
    """Of the text that lies on this machine; empty for a hub set, whose name says it."""
    if calibration.file is not None:
        _require_file(calibration.file)
        with calibration.file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if calibration.dataset == PYTHON_DOCS:
        return hashlib.sha256("\0".join(python_docs(held_out=False)).encode()).hexdigest()
    return ""


def of_file(file: Path) -> list[str]:
    """The texts in a .txt, .jsonl or .parquet file, the empty ones left out."""
    _require_file(file)
    try:
        found = list(_READERS[file.suffix](file))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise LoadError(f"the text file {file} cannot be read: {error}") from error
    if not (filled := [text for text in found if text.strip()]):
        raise LoadError(f"the text file {file} has no text in it")
    return filled


def _require_file(file: Path) -> None:
    if not file.is_file():
        raise LoadError(f"no such calibration file: {file}", "see `calibration.dataset` in the profile")


def _paragraphs(file: Path) -> Iterator[str]:
    yield file.read_text(encoding="utf-8")


def _json_lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _text_of(json.loads(line), f"line {number}")


def _text_of(row: Any, place: str) -> str:
    """A row's text: the row itself, its `text`, or the turns of its `messages`."""
    if isinstance(row, dict) and isinstance(row.get("messages"), list):
        return "\n".join(str(turn.get("content", "")) for turn in row["messages"] if isinstance(turn, dict))
    text = row.get("text") if isinstance(row, dict) else row
    if not isinstance(text, str):
        raise ValueError(f"{place} is neither text nor a row with `text` or `messages`")
    return text


def _parquet(file: Path) -> Iterator[str]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        parquet = ParquetFile(file)
        if "text" not in parquet.schema_arrow.names:
            raise ValueError(f"it has no column `text`, but {', '.join(parquet.schema_arrow.names)}")
        for batch in parquet.iter_batches(columns=["text"]):
            yield from (text for text in batch.column(0).to_pylist() if text)
    except ArrowInvalid as error:
        raise ValueError(str(error)) from error


_READERS = {".txt": _paragraphs, ".jsonl": _json_lines, ".parquet": _parquet}


def hub_rows(what: str, wanted: HubSet) -> Sequence[str]:
    """A data set's texts, row by row; LoadError, which begins with `what`, where it cannot be had."""
    try:
        import datasets
    except ImportError:
        raise LoadError(f"{what} needs the package datasets", "pip install datasets") from None
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(
            wanted.repo, wanted.config, data_files=wanted.files, revision=wanted.revision, split=wanted.split
        )
    except Exception as error:  # whatever its many layers raise: the set is not to be had
        raise LoadError(_unreachable(what, wanted, error), "`python-docs` needs no network") from error
    found: Sequence[str] = rows[wanted.field]
    return found


def _unreachable(what: str, wanted: HubSet, error: Exception) -> str:
    if paths.hub_is_offline():
        return f"{what} is not on this disk, and the model hub is switched off"
    reason = (str(error).splitlines() or [""])[0][:120]
    return f"{what} ({wanted.repo}) cannot be had from {paths.hub_endpoint()}: {reason}"
