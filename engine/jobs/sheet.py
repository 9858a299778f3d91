"""Results as they are written: a table, Markdown, CSV, JSON, JSON lines, by a file's name. The same rows, so
the same figures.

Tables are for reading, with units in their cells; CSV has bare numbers, bytes as bytes; JSON has everything.
Knows nothing of what the rows are about.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from engine import tables
from engine.errors import InputError
from engine.tables import Row

Format = Literal["table", "json", "jsonl", "csv", "md"]
FORMATS: Sequence[Format] = get_args(Format)
SUFFIXES: Mapping[str, Format] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".md": "md",
    ".txt": "table",
}


class Sheet(Struct, frozen=True, kw_only=True):
    """Results, ready to be written in any format."""

    above: Sequence[str] = ()
    """What holds for all rows, a line each."""
    rows: Sequence[Row] = ()
    """For reading."""
    below: Sequence[str] = ()
    """What the reader should know."""
    numbers: Sequence[Row] = ()
    """For machines that cannot read JSON."""
    records: Sequence[object] = ()
    """What a line of JSON lines is."""
    document: object = None
    """All of it, as JSON."""


def format_of(file: Path) -> Format:
    """The format that a file's extension names; InputError where it names none."""
    if file.suffix not in SUFFIXES:
        raise InputError(f"{file}: which format?", "the name ends in " + ", ".join(SUFFIXES))
    return SUFFIXES[file.suffix]


def text(sheet: Sheet, form: Format, width: int | None = None) -> str:
    """The results in this format; a table's last column gives way where `width` is given."""
    return _table(sheet, width) if form == "table" else _WRITERS[form](sheet)


def _table(sheet: Sheet, width: int | None) -> str:
    above, below = (tables.single_lines(lines) for lines in (sheet.above, sheet.below))
    return _parts(above, tables.table(sheet.rows, width), below)


def _markdown(sheet: Sheet) -> str:
    above, below = (tables.single_lines(lines, "- ") for lines in (sheet.above, sheet.below))
    return _parts(above, tables.markdown(sheet.rows), below)


def _parts(above: Iterable[str], shown: str, below: Iterable[str]) -> str:
    parts = ("\n".join(above), shown, "\n".join(below))
    return "\n\n".join(part for part in parts if part)


_WRITERS: Mapping[str, Callable[[Sheet], str]] = {
    "json": lambda sheet: tables.json(sheet.document),
    "jsonl": lambda sheet: tables.jsonl(sheet.records),
    "csv": lambda sheet: tables.csv_text(sheet.numbers),
    "md": _markdown,
}
