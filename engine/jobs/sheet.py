"""Results as they are written: table, Markdown, HTML, CSV, JSON, JSON lines, by a file's name. The same rows,
so the same figures.

Tables are for reading, with units in their cells; CSV has bare numbers, bytes as bytes; JSON has everything.
Knows nothing of what the rows are about.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from engine import html, tables
from engine.errors import InputError
from engine.html import Html, element, joined
from engine.jobs import plot_text
from engine.jobs.plot import Plot, drawn
from engine.sanitize import visible
from engine.tables import Row
from engine.units import MISSING

Format = Literal["table", "json", "jsonl", "csv", "md", "html"]
FORMATS: Sequence[Format] = get_args(Format)
SUFFIXES: Mapping[str, Format] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".md": "md",
    ".html": "html",
    ".txt": "table",
}


class Sheet(Struct, frozen=True, kw_only=True):
    """Results, ready to be written in any format."""

    above: Sequence[str] = ()
    """What holds for all rows, a line each."""
    rows: Sequence[Row] = ()
    """For reading."""
    more: Mapping[str, Sequence[Row]] = {}
    """Further tables for reading, by what they show."""
    long: Mapping[str, Sequence[Row]] = {}
    """Tables that are too long for a terminal: in documents to share alone, folded in Markdown."""
    below: Sequence[str] = ()
    """What the reader should know."""
    verdicts: Sequence[str] = ()
    """What it means: the last lines of a table, the first of a document to share."""
    title: str = "Results"
    plots: Sequence[Plot] = ()
    settings: Mapping[str, str] = {}
    """What was run, as YAML, by name."""
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
    verdicts = tables.single_lines(sheet.verdicts)
    more = (f"{name}\n{tables.table(rows, width)}" for name, rows in sheet.more.items())
    return _parts(above, [tables.table(sheet.rows, width)], *([table] for table in more), below, verdicts)


def _markdown(sheet: Sheet) -> str:
    above, below = (tables.single_lines(lines, "- ") for lines in (sheet.above, sheet.below))
    verdicts = tables.single_lines(sheet.verdicts, "- ")
    more = ([f"{name}:\n", tables.markdown(rows)] for name, rows in sheet.more.items())
    long = (_folded_rows(name, rows) for name, rows in sheet.long.items())
    table = tables.markdown(sheet.rows)
    plots = (["```text", *plot_text.lines(plot), "```"] for plot in sheet.plots)
    return _parts(verdicts, above, [table], *more, *plots, below, *long, _folded(sheet.settings))


def _folded_rows(name: str, rows: Sequence[Row]) -> list[str]:
    return [f"<details><summary>{name}</summary>", "", tables.markdown(rows), "", "</details>"]


def _folded(settings: Mapping[str, str]) -> list[str]:
    """Settings as an issue of a forge shows them: folded, as code that nothing within ends."""
    if not settings:
        return []
    code = [
        f"# {visible(name, keep_newlines=False)}\n{visible(text).strip()}" for name, text in settings.items()
    ]
    longest = max((len(run) for run in re.findall("`+", "".join(code))), default=0)
    fence = "`" * max(3, longest + 1)
    return ["<details><summary>Settings</summary>", "", f"{fence}yaml", *code, fence, "", "</details>"]


def _parts(*parts: Iterable[str]) -> str:
    return "\n\n".join(text for part in parts if (text := "\n".join(part)))


def _page(sheet: Sheet) -> str:
    return html.page(
        sheet.title,
        element(
            "header", element("p", element("b", "quantduel"), class_="brand"), element("h1", sheet.title)
        ),
        _card("Verdict", _list(sheet.verdicts)),
        _card("Figures", _html_table(sheet.rows), class_="card wide"),
        *(_card(name, _html_table(rows), class_="card wide") for name, rows in sheet.more.items()),
        element(
            "div", *(element("div", drawn(plot), class_="card") for plot in sheet.plots), class_="sides plots"
        ),
        *(_card(name, _html_table(rows), class_="card wide") for name, rows in sheet.long.items()),
        _card("Remarks", _list(sheet.below)),
        _card("Machine, versions and settings", _list(sheet.above), *_yaml(sheet.settings)),
        element("footer", f"made by QuantDuel; {MISSING} is what was not measured"),
    )


def _card(title: str, *children: Html, class_: str = "card") -> Html:
    inside = joined(*children)
    return (
        element("section", element("h2", title), element("div", inside, class_=class_))
        if inside
        else Html("")
    )


def _list(lines: Sequence[str]) -> Html:
    return joined(*(element("p", line) for line in tables.single_lines(lines)))


def _html_table(rows: Sequence[Row]) -> Html:
    if not rows:
        return Html("")
    head = element("tr", *(element("th", name) for name in rows[0]))
    body = (element("tr", *(element("td", tables.shown(row.get(name))) for name in rows[0])) for row in rows)
    return element("table", element("thead", head), element("tbody", *body))


def _yaml(settings: Mapping[str, str]) -> list[Html]:
    return [
        element("details", element("summary", name), element("div", text, class_="text"))
        for name, text in settings.items()
    ]


_WRITERS: Mapping[str, Callable[[Sheet], str]] = {
    "json": lambda sheet: tables.json(sheet.document),
    "jsonl": lambda sheet: tables.jsonl(sheet.records),
    "csv": lambda sheet: tables.csv_text(sheet.numbers),
    "md": _markdown,
    "html": _page,
}
