"""Files of text to calibrate with or to be judged by: .txt, .jsonl, .parquet, as a list of texts.

Owns the rows' form and the bound. Tokenizes nothing and needs no torch, so that a front end can check a file
before a model is loaded.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from engine import input_files
from engine.config.chat_rows import Content, text_of
from engine.errors import FileError, InputError
from engine.sanitize import is_text

MOST_BYTES = 1 << 30


class _Turn(Struct):
    content: Content | None = None
    """None where all that was said is a call of a tool."""


def texts(file: Path) -> list[str]:
    """The texts in a file, the empty ones left out; InputError where it cannot be read or has none."""
    try:
        found = [text for text in _READERS[file.suffix.lower()](file) if text.strip()]
    except FileError as error:
        raise InputError(f"the text file {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the text file {file} cannot be read: {error}") from error
    if not found:
        raise InputError(f"the text file {file} has no text in it")
    return found


def joined(file: Path) -> str:
    """All of a file's texts as one; InputError."""
    return "\n\n".join(texts(file))


def _paragraphs(file: Path) -> Iterator[str]:
    yield input_files.read_text(file, MOST_BYTES)


def _json_lines(file: Path) -> Iterator[str]:
    for number, line in enumerate(input_files.read_text(file, MOST_BYTES).split("\n"), 1):
        if line.strip():
            yield _text_of(_row(line, f"line {number}"), f"line {number}")


def _row(line: str, place: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:  # it counts lines in the row
        raise ValueError(f"{place} is not JSON: {error.msg}, column {error.colno}") from error


def _text_of(row: Any, place: str) -> str:
    """A row's text: the row itself, its `text`, or the turns of its `messages`."""
    if isinstance(row, dict) and isinstance(row.get("messages"), list):
        row = _conversation(row["messages"], place)
    text = row.get("text") if isinstance(row, dict) else row
    if not isinstance(text, str):
        raise ValueError(f"{place} is neither text nor a row with `text` or `messages`")
    if not is_text(text):
        raise ValueError(f"{place} has a lone surrogate in it, which no UTF-8 text has")
    return text


def _conversation(messages: list[Any], place: str) -> str:
    """What was said, a turn a line; turns without content have nothing to read."""
    try:
        turns = msgspec.convert(messages, list[_Turn])
    except msgspec.ValidationError as error:
        raise ValueError(f"{place}, messages: {error}: expected text, or a list of text parts") from error
    return "\n".join(text_of(turn.content) for turn in turns if turn.content is not None)


def _parquet(file: Path) -> Iterator[str]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError(f"{file} needs the package pyarrow", "pip install pyarrow") from None
    try:
        with input_files.opened(file) as stream:
            yield from _column(ParquetFile(stream))
    except ArrowException as error:
        raise ValueError(str(error)) from error


def _column(parquet: Any) -> Iterator[str]:
    """The texts of the column `text`, at most MOST_BYTES characters of them."""
    schema, characters = parquet.schema_arrow, 0
    if "text" not in schema.names:
        raise ValueError(f"it has no column `text`, but {', '.join(schema.names)}")
    for batch in parquet.iter_batches(columns=["text"]):
        for text in batch.column(0).to_pylist():
            if not isinstance(text, str | None):
                raise ValueError(f"its column `text` holds {schema.field('text').type}, not text")
            characters += len(text or "")
            if characters > MOST_BYTES:
                raise ValueError(f"its column `text` is longer than {MOST_BYTES >> 20} MiB")
            yield text or ""


_READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    ".txt": _paragraphs,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
