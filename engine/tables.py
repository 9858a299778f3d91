"""Rows as text: an aligned table, Markdown, JSON, JSON lines, CSV; and text into a file. The same rows, so
the same figures.

Knows nothing of what the rows are about. A cell is text, a number or nothing; units are the caller's.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import msgspec

from engine import paths
from engine.errors import InputError
from engine.sanitize import escaped, visible
from engine.units import MISSING, digits

Cell = str | int | float | bool | None
Row = Mapping[str, Cell]
GAP = "  "
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # spreadsheets take the wide ones, too


def table(rows: Sequence[Row], width: int | None = None) -> str:
    """Columns under their names, numbers to the right; where `width` is given the last column gives way."""
    if not rows:
        return ""
    names = list(rows[0])
    cells = [
        [shown(name).replace("_", " ") for name in names],
        *([shown(row.get(n)) for n in names] for row in rows),
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    right = [_is_number_column(rows, name) for name in names]
    lines = [_line(line, widths, right) for line in cells]
    return "\n".join(line if width is None else _cut(line, width) for line in lines)


def single_lines(texts: Iterable[str], before: str = "") -> list[str]:
    """Each text as one line, whatever is in it, after `before`."""
    return [before + visible(text, keep_newlines=False) for text in texts]


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    if not rows:
        return ""
    names = list(rows[0])
    rules = ["--:" if _is_number_column(rows, name) else "---" for name in names]
    lines = [
        [*map(shown, names)],
        rules,
        *([shown(row.get(n)).replace("|", "\\|") for n in names] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def json(rows: object) -> str:
    """One indented JSON document: rows, or any other data made of msgspec structs."""
    return escaped(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())


def jsonl(rows: Sequence[object]) -> str:
    """One JSON object a line."""
    return "\n".join(escaped(msgspec.json.encode(row).decode()) for row in rows)


def csv_text(rows: Sequence[Row]) -> str:
    """Comma-separated values with a header; an absent figure is an empty cell.

    Text that a spreadsheet would compute has a `'` before it; control characters and newlines are `\\uXXXX`.
    """
    if not rows:
        return ""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_inert, rows[0]))
    writer.writerows([_inert(row.get(name)) for name in rows[0]] for row in rows)
    return out.getvalue().rstrip("\n")


def require_free(file: Path, *, replace: bool = False, taken: Iterable[Path] = ()) -> Path:
    """Where to write, links followed; InputError where that cannot be, or must not be overwritten.

    `taken` are files that the same command reads or writes: these are never replaced.
    """
    try:
        file = paths.followed(file)
        if file in {paths.followed(each) for each in taken}:
            raise InputError(f"{file}: the same command reads or writes it already", "choose another name")
        if not file.parent.is_dir():
            raise InputError(f"{file.parent} is not a folder", "make it first, or choose another name")
        if file.exists() and not file.is_file():
            raise InputError(f"{file} is not a file", "choose another name")
        if file.exists() and not replace:
            raise InputError(f"{file} exists already", "--force replaces it")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", "choose another name") from error
    return file


def write(text: str, file: Path) -> None:
    """Put a text into a file: all of it, or what was there before; InputError where that cannot be."""
    unfinished = file.with_name(f".{file.name[:64]}.{token_hex(4)}")
    try:
        with unfinished.open("x", encoding="utf-8") as stream:
            stream.write(text + "\n")
        unfinished.replace(file)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}", "choose another file") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


FORMATS: Mapping[str, Callable[[Sequence[Row]], str]] = {
    "table": table,
    "markdown": markdown,
    "json": json,
    "jsonl": jsonl,
    "csv": csv_text,
}


def _inert(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    return ("'" if cell.startswith(FORMULA_STARTS) else "") + escaped(cell).replace("\n", r"\u000a")


def shown(cell: Cell) -> str:
    """A cell as text: three digits, yes or no, `–` for nothing."""
    match cell:
        case None:
            return MISSING
        case bool():
            return "yes" if cell else "no"
        case float():
            return digits(cell)
    return visible(str(cell), keep_newlines=False)


def _is_number_column(rows: Sequence[Row], name: str) -> bool:
    cells = [row.get(name) for row in rows]
    return all(cell is None or type(cell) in {int, float} for cell in cells)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return GAP.join(padded).rstrip()


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"
