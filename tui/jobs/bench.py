"""The bench as a job: settings from what was typed, words from events, rows and charts from the document.

The same engine and the same cells as `quantduel bench`. Knows no widget.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from engine import tables
from engine.bench import document as documents
from engine.bench import plan, rows
from engine.bench import text as texts
from engine.bench.document import Document
from engine.bench.events import Advanced, BenchEvent, Checked, Filled, Loading, Noted
from engine.bench.plan import Settings
from engine.bench.rows import Row
from engine.bench.run import Bench
from engine.config import profile
from engine.config.profile import Profile
from engine.errors import InputError
from engine.history import RunKind
from engine.session.progress import stage_text
from engine.tables import Cell
from tui.jobs.bench_charts import charts
from tui.jobs.job import COLOURS, Field, Picture, Progress, number, numbers

FIGURE, LATENCY, SIZE = 12, 15, 10  # characters that a figure may need
WIDTHS = {
    "prefill tok/s": FIGURE,
    "decode tok/s": FIGURE,
    "TTFT ms": FIGURE,
    "ITL p50, p95 ms": LATENCY,
    "weights": SIZE,
    "peak": SIZE,
    "then": FIGURE,
    "change": 7,
}


class BenchJob:
    """A matrix of context lengths for some profiles."""

    kind: RunKind = "bench"
    name = "Bench"
    explanation = "Speed and memory at each context length: cold prompts, greedy tokens, repeats A B, B A, …"
    suffixes: Sequence[str] = tuple(texts.SUFFIXES)
    done = "done: kept among the earlier runs (F4); Ctrl+S exports it"

    def __init__(self, names: Sequence[str], make: Callable[[Document], Bench] = Bench) -> None:
        self._names, self._make = names, make
        self._document: Document | None = None
        self._earlier: Document | None = None

    @property
    def fields(self) -> Sequence[Field]:
        """Profiles and matrix."""
        contexts = ",".join(map(str, plan.CONTEXTS))
        return (
            Field("profiles", "profiles", " ".join(self._names)),
            Field("contexts", "contexts", contexts, new_line=True),
            Field("batches", "batch", "1", 6),
            Field("steps", "steps", "128", 5),
            Field("repeat", "repeats", "5", 4),
        )

    @property
    def title(self) -> str:
        """The profiles and the span of contexts."""
        settings = self._settings
        if settings is None:
            return ""
        contexts = f"{min(settings.contexts)}–{max(settings.contexts)}"
        names = ", ".join(each.name for each in settings.profiles)
        return f"{names}: contexts {contexts}, {settings.steps} steps × {settings.repeat}"

    def prepare(self, values: Mapping[str, str]) -> None:
        """A new document with these settings."""
        settings = Settings(
            profiles=plan.distinct([profile.find(name) for name in values["profiles"].split()]),
            contexts=numbers("contexts", values["contexts"]),
            batches=numbers("batch", values["batches"]),
            steps=number("steps", values["steps"], least=2),
            repeat=number("repeats", values["repeat"]),
        )
        self._document = documents.begun(settings)

    async def run(self) -> AsyncGenerator[Progress]:
        """Measure what the document lacks."""
        if self._document is None:
            raise RuntimeError("prepare() comes first")
        bench = self._make(self._document)
        async with aclosing(bench.run()) as events:
            async for event in events:
                self._document = bench.document
                yield progress(event)
        self._document = bench.document

    def body(self) -> bytes | None:
        """The document, once it has a row."""
        done = self._document if self._document and self._document.rows else None
        return msgspec.json.encode(done) if done else None

    def open(self, body: bytes) -> None:
        """Show an earlier document."""
        self._document, self._earlier = _document(body), None

    def compare(self, body: bytes, title: str) -> None:
        """Put an earlier document's decode speeds beside the present one's."""
        self._earlier = _document(body)

    def export(self, file: Path) -> None:
        """Write the document as the file's name asks."""
        form = texts.format_of(file)
        if self._document is None:
            raise InputError("nothing was measured yet")
        tables.write(texts.text(self._document, form), file)

    @property
    def picture(self) -> Picture:
        """All cells of the matrix, measured or not."""
        found, settings = self._document, self._settings
        if found is None or settings is None:
            return Picture()
        colours = colours_of(settings.profiles)
        return Picture(
            rows=tuple(table(found, self._earlier)),
            widths=WIDTHS | {"profile": max(map(len, colours))},
            colours=colours,
            charts=charts(found, self._earlier, colours),
            notes=(*found.header.notes, *texts.verdicts(found), *spoiled(found)),
        )

    @property
    def _settings(self) -> Settings | None:
        return self._document.header.settings if self._document else None


def progress(event: BenchEvent) -> Progress:
    """An event in words."""
    match event:
        case Loading(profile=name, stage=stage):
            return Progress(f"{name}: {stage_text(stage)}")
        case Advanced(profile=name, shape=shape, doing=doing, share=share, left_s=left_s):
            batch = f", batch {shape.batch}" if shape.batch > 1 else ""
            return Progress(f"{name}, context {shape.context}{batch}: {doing}", share, left_s)
        case Filled(row=row):
            return Progress(f"{row.profile}, context {row.context}: done")
        case Noted(text=text):
            return Progress(text)
        case Checked():
            return Progress("checked")


def colours_of(profiles: Sequence[Profile]) -> dict[str, str]:
    """A colour for each profile, by its name."""
    return {each.name: COLOURS[place % len(COLOURS)] for place, each in enumerate(profiles)}


def spoiled(found: Document) -> list[str]:
    """A line about speeds that something spoiled; the table's last column says what."""
    marked = [row for row in found.rows if row.marks]
    if not marked:
        return []
    return [f"{len(marked)} of {len(found.rows)} rows are marked, such as: {marked[-1].marks[0]}"]


def table(found: Document, earlier: Document | None) -> list[dict[str, Cell]]:
    """A row for each cell of the matrix, as the command line shows it; beside an earlier run's speed."""
    settings = found.header.settings
    done = {(row.shape, row.profile): row for row in found.rows}
    with_batches = any(shape.batch > 1 for shape in settings.shapes)
    lines = []
    for shape in settings.shapes:
        for each in settings.profiles:
            row = done.get((shape, each.name)) or rows.empty(each.name, shape, None)
            cells = texts.cells(row, with_batches=with_batches)
            lines.append(_beside(cells, row, earlier) if earlier else cells)
    return lines


def _beside(cells: dict[str, Cell], row: Row, earlier: Document) -> dict[str, Cell]:
    """The cells with the earlier decode speed and the change."""
    same = [other for other in earlier.rows if (other.profile, other.shape) == (row.profile, row.shape)]
    then = same[0] if same else rows.empty(row.profile, row.shape, None)
    change = ""
    if then.decode_tok_s and row.decode_tok_s:
        change = f"×{row.decode_tok_s.mean / then.decode_tok_s.mean:.2f}"
    added: dict[str, Cell] = {"then": texts.cells(then)["decode tok/s"], "change": change}
    found: dict[str, Cell] = {}
    for name, cell in cells.items():
        found[name] = cell
        if name == "decode tok/s":
            found |= added
    return found


def _document(body: bytes) -> Document:
    try:
        return msgspec.json.decode(body, type=Document)
    except msgspec.MsgspecError as error:
        raise InputError(f"that run was kept by another version: {error}") from error
