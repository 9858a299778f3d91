"""The bench as a job: settings from what was typed, rows and charts from the document.

The same engine and the same cells as `quantduel bench`. Knows no widget.
"""

from collections.abc import Callable, Mapping, Sequence

from engine.bench import document as documents
from engine.bench import plan, rows
from engine.bench import text as texts
from engine.bench.document import Document
from engine.bench.plan import Settings
from engine.bench.rows import Row
from engine.bench.run import Bench
from engine.duel.text import times_text
from engine.jobs.sheet import Sheet
from engine.stats import energy
from engine.tables import Cell
from tui.jobs.bench_charts import charts
from tui.jobs.job import Field, KeptJob, Picture, colours, number, numbers, profiles

FIGURE, LATENCY, SIZE = 12, 15, 10  # characters that a figure may need
WIDTHS = {
    "prefill tok/s": FIGURE,
    "decode tok/s": FIGURE,
    "TTFT ms": FIGURE,
    "ITL p50, p95 ms": LATENCY,
    energy.JOULES: FIGURE,
    energy.WATTS: FIGURE,
    "weights": SIZE,
    "peak": SIZE,
    "then": FIGURE,
    "change": 7,
}
FIRST = ("profile", "context", "batch", "decode tok/s", "then", "change", "prefill tok/s", "TTFT ms", "peak")


class BenchJob(KeptJob[Document]):
    """A matrix of context lengths for some profiles."""

    kind = "bench"
    document = Document
    name = "Bench"
    explanation = "Speed and memory over context lengths: cold prompts, greedy"

    def __init__(
        self, names: Sequence[str], make: Callable[[Document], Bench] = Bench, *, at_once: bool = False
    ) -> None:
        """`at_once`: the sides answer many requests at once, so how many can be set."""
        super().__init__(names)
        self._at_once = at_once
        self._make = make

    @property
    def fields(self) -> Sequence[Field]:
        """Profiles and matrix."""
        contexts = ",".join(map(str, plan.CONTEXTS))
        return (
            Field("profiles", "profiles", " ".join(self.names)),
            Field("contexts", "contexts", contexts, new_line=True),
            Field("batches", "batch", "1", 6),
            Field("steps", "steps", "128", 5),
            Field("repeat", "repeats", "5", 4),
            *([Field("at_once", "at once", "", new_line=True)] if self._at_once else []),
        )

    @property
    def found(self) -> Document | None:
        """The document, or an earlier one."""
        return self.shown or (self.work.document if isinstance(self.work, Bench) else None)

    @property
    def title(self) -> str:
        """The profiles and the span of contexts."""
        if self.found is None:
            return ""
        settings = self.found.header.settings
        contexts = f"{min(settings.contexts)}–{max(settings.contexts)}"
        names = ", ".join(each.name for each in settings.profiles)
        return f"{names}: contexts {contexts}, {settings.steps} steps × {settings.repeat}"

    @property
    def sheet(self) -> Sheet | None:
        """The document's."""
        return texts.sheet(self.found) if self.found else None

    def is_worth_keeping(self, found: Document) -> bool:
        """Whether it has a row."""
        return bool(found.rows)

    def prepare(self, values: Mapping[str, str]) -> None:
        """A new document with these settings."""
        levels = values.get("at_once", "").strip()
        settings = Settings(
            profiles=profiles(values["profiles"], self.sides),
            contexts=numbers("contexts", values["contexts"]),
            batches=numbers("batch", values["batches"]),
            steps=number("steps", values["steps"], least=2),
            repeat=number("repeats", values["repeat"]),
            concurrency=numbers("at once", levels) if levels else (),
        )
        self.work, self.shown = self._make(documents.begun(plan.checked(settings))), None

    @property
    def picture(self) -> Picture:
        """All cells of the matrix, measured or not."""
        found = self.found
        if found is None:
            return Picture()
        by_name = colours([each.name for each in found.header.settings.profiles])
        return Picture(
            rows=tuple(table(found, self.earlier)),
            widths=WIDTHS | {"profile": max(map(len, by_name))},
            first=FIRST,
            colours=by_name,
            charts=charts(found, self.earlier, by_name),
            notes=(*found.header.notes, *texts.verdicts(found), *spoiled(found), *texts.energy_lines(found)),
        )


def spoiled(found: Document) -> list[str]:
    """A line about rows without figures, one about speeds that something spoiled; more in the last column."""
    failed = [row.error.message for row in found.rows if row.error]
    marked = [row.marks[0] for row in found.rows if row.marks]
    return [
        f"{len(why)} of {len(found.rows)} rows {what}, such as: {why[-1]}"
        for what, why in (("have no figures", failed), ("are marked", marked))
        if why
    ]


def table(found: Document, earlier: Document | None) -> list[dict[str, Cell]]:
    """A row for each cell of the matrix, as the command line shows it; next to an earlier run's speed."""
    settings, at_once = found.header.settings, bool(found.header.settings.concurrency)
    done = {(row.shape, row.profile): row for row in found.rows}
    lines, cells_of = [], texts.reader(found)
    for shape in settings.shapes:
        for each in settings.profiles:
            row = done.get((shape, each.name)) or rows.empty(each.name, shape, None)
            cells = cells_of(row)
            lines.append(_beside(cells, row, earlier) if earlier and not at_once else cells)
    return lines


def _beside(cells: dict[str, Cell], row: Row, earlier: Document) -> dict[str, Cell]:
    """The cells with the earlier decode speed and the change."""
    same = [other for other in earlier.rows if (other.profile, other.shape) == (row.profile, row.shape)]
    then = same[0] if same else rows.empty(row.profile, row.shape, None)
    change = ""
    if then.decode_tok_s and row.decode_tok_s:
        change = times_text(row.decode_tok_s.mean / then.decode_tok_s.mean)
    added: dict[str, Cell] = {"then": texts.cells(then)["decode tok/s"], "change": change}
    found: dict[str, Cell] = {}
    for name, cell in cells.items():
        found[name] = cell
        if name == "decode tok/s":
            found |= added
    return found
