"""Eval as a job: settings from what was typed, rows and charts from the report.

The same engine and the same cells as `quantduel eval`. Knows no widget.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from engine.errors import InputError
from engine.evaluation import text as texts
from engine.evaluation.report import Report, Row
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import TEXTS, Settings, require_pair, require_text
from engine.jobs.sheet import Sheet
from engine.stats import energy
from engine.stats.fidelity import Kld
from engine.tables import Cell
from engine.units import MISSING
from tui.charts.chart import Axis, Chart, Line
from tui.jobs.job import Field, KeptJob, Picture, colours, mebibytes, number, profiles

Course = Callable[[Row], Iterable[tuple[int, Kld | None]]]
TOKENS = 4096
BY: dict[str, tuple[str, ...]] = {
    "no": (),
    "depth": ("depth",),
    "layer": ("layer",),
    "both": ("depth", "layer"),
}
"""What the figures are also taken by, as it is typed."""
WIDTHS = {
    "method": 8,
    "verdict": 17,
    "KLD": 17,
    "p50, p95, p99": 24,
    "max": 7,
    "same top": 13,
    "RMS Δp": 13,
    "margins kept": 17,
    "perplexity": 13,
    "ratio": 14,
    "weights": 10,
    "decode tok/s": 12,
    energy.JOULES: 10,
    energy.WATTS: 10,
    "read tok/s": 10,
    "KLD then": 17,
}
FIRST = ("profile", "verdict", "KLD", "KLD then", "weights", "decode tok/s", "same top", "perplexity")


class EvalJob(KeptJob[Report]):
    """How far some profiles are from the first of them, on a text."""

    kind = "fidelity"
    document = Report
    name = "Eval"
    explanation = "How far each profile's predictions are from the first's"

    def __init__(self, names: Sequence[str], make: Callable[[Settings], Evaluation] = Evaluation) -> None:
        super().__init__(names)
        self._make = make

    @property
    def fields(self) -> Sequence[Field]:
        """Reference and candidates, the text and how it is read."""
        return (
            Field("profiles", "reference, candidates", " ".join(self.names)),
            Field("text", "text", TEXTS[0], new_line=True, options=TEXTS),
            Field("window", "window", "512", 6),
            Field("tokens", "tokens", str(TOKENS), 8),
            Field("by", "also by", "no", 5, options=tuple(BY)),
        )

    @property
    def title(self) -> str:
        """Who was compared with whom, and on what."""
        found = self.found
        if found is None:
            return ""
        names = ", ".join(row.profile for row in found.candidates)
        cut = found.convention
        text = f": {cut.text.partition(' ')[0]}, window {cut.window}, {cut.tokens} tokens" if cut else ""
        return f"{names} against {found.reference.profile}{text}"

    @property
    def found(self) -> Report | None:
        """The report, or an earlier one."""
        return self.shown or (self.work.report if isinstance(self.work, Evaluation) else None)

    @property
    def sheet(self) -> Sheet | None:
        """The report's."""
        found = self.found
        return texts.sheet(found) if found else None

    def is_worth_keeping(self, found: Report) -> bool:
        """Whether a model has scored something."""
        return any(row.tokens for row in (found.reference, *found.candidates))

    def prepare(self, values: Mapping[str, str]) -> None:
        """A new evaluation with these settings."""
        chosen = profiles(values["profiles"], self.sides)
        require_pair(chosen)
        by = _by(values["by"])
        settings = Settings(
            profiles=chosen,
            text=require_text(values["text"].strip()),
            window=number("window", values["window"], least=2),
            tokens=number("tokens", values["tokens"], least=2) if values["tokens"].strip() else None,
            scored="all" if "depth" in by else "half",
            by_depth="depth" in by,
            by_layer="layer" in by,
        )
        self.work, self.shown = self._make(settings), None

    @property
    def picture(self) -> Picture:
        """The reference, then the candidates, the nearest first."""
        found = self.found
        if found is None:
            return Picture()
        by_name = colours([row.profile for row in (found.reference, *found.candidates)])
        lines = table(found, self.earlier)
        reference = str(lines[0]["profile"])
        return Picture(
            rows=tuple(lines),
            widths=WIDTHS | {"profile": max(map(len, (*by_name, reference)))},
            first=FIRST,
            colours=by_name | {reference: by_name[found.reference.profile]},
            charts=charts(found, by_name),
            facts=tuple(texts.facts(found)),
            notes=tuple(remarks(found)),
        )


def table(found: Report, earlier: Report | None) -> list[dict[str, Cell]]:
    """The same cells as the command line's; next to an earlier run's KLD."""
    lines = texts.readable(found)
    if earlier is None:
        return lines
    then = {row.profile: texts.cells(row)["KLD"] for row in earlier.candidates}
    return [line | {"KLD then": then.get(str(line["profile"]), MISSING)} for line in lines]


def remarks(found: Report) -> list[str]:
    """Errors first, then which to pick, the verdicts, what the reader should know."""
    rows = (found.reference, *found.candidates)
    errors = [f"{row.profile}: {row.error.message}" for row in rows if row.error]
    said = [remark for remark in texts.remarks(found) if remark not in errors]
    return [*errors, *texts.pick_lines(found), *texts.verdict_lines(found), *said]


def charts(found: Report, colours: Mapping[str, str]) -> tuple[Chart, ...]:
    """KLD against size and against speed: the lower left, and the lower right, are the better corners.

    By depth and by layer in place of these, the speed first, where figures by them were asked for.
    """
    unit, size = mebibytes([row.weights_bytes or 0 for row in found.candidates])
    kld = Axis("nats", log=True)
    sizes = _points(found, colours, lambda row: row.weights_bytes / size if row.weights_bytes else None)
    speeds = _points(found, colours, lambda row: row.decode_tok_s)
    more = [chart for chart in (_depths(found, colours), _layers(found, colours)) if chart]
    plain = (
        Chart(f"KLD, nats, against weights, {unit}", Axis(unit), kld, sizes),
        Chart("KLD, nats, against decode, tok/s", Axis("tok/s"), kld, speeds),
    )
    return (*plain[: len(plain) - len(more)], *more)


def _depths(found: Report, colours: Mapping[str, str]) -> Chart | None:
    """KLD by how many tokens of the window come before, each bucket at its end; None without buckets."""
    lines = _lines(found, colours, lambda row: ((each.last + 1, each.kld) for each in row.depths))
    ticks = tuple(sorted({x for line in lines for x, _ in line.points}))
    across = Axis("tokens", log=True, ticks=ticks)
    return Chart("KLD, nats, by tokens before", across, Axis("nats", log=True), lines) if lines else None


def _layers(found: Report, colours: Mapping[str, str]) -> Chart | None:
    """KLD of each layer of a candidate alone; None where none was measured."""
    lines = _lines(found, colours, lambda row: ((each.index, each.kld) for each in row.layers))
    return (
        Chart("KLD, nats, of one layer", Axis("layer", whole=True), Axis("nats", log=True), lines)
        if lines
        else None
    )


def _lines(found: Report, colours: Mapping[str, str], course: Course) -> tuple[Line, ...]:
    """A line a candidate, of the KLDs that a logarithm can show."""
    lines = []
    for row in found.candidates:
        known = ((float(x), kld.mean) for x, kld in course(row) if kld)
        if points := tuple((x, mean) for x, mean in known if 0 < mean < math.inf):
            lines.append(Line(f"{row.kld_sign}{row.profile}", colours[row.profile], points))
    return tuple(lines)


def _by(text: str) -> tuple[str, ...]:
    """What the figures are also taken by; InputError for another word."""
    if (word := text.strip().lower()) not in BY:
        raise InputError(f"also by: expected {', '.join(BY)}, not {text!r}")
    return BY[word]


def _points(found: Report, colours: Mapping[str, str], x: Callable[[Row], float | None]) -> tuple[Line, ...]:
    lines = []
    for row in found.candidates:
        place = x(row)
        if row.kld and row.kld.mean > 0 and place is not None:
            points = ((place, row.kld.mean),)
            lines.append(
                Line(
                    f"{row.kld_sign}{row.profile}",
                    colours[row.profile],
                    points,
                    False,
                    (row.kld.stderr,),
                )
            )
    return tuple(lines)
