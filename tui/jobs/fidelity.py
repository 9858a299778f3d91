"""Fidelity as a job: settings from what was typed, words from events, rows and charts from the report.

The same engine and the same cells as `quantduel eval`. Knows no widget.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from engine import tables
from engine.bench.plan import distinct
from engine.config import profile
from engine.errors import InputError
from engine.evaluation import text as texts
from engine.evaluation.events import Advanced, EvaluationEvent, Finished, Loading, Noted, Timing
from engine.evaluation.report import Report, Row
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import TEXTS, Settings, require_pair, require_text
from engine.history import RunKind
from engine.session.progress import stage_text
from engine.tables import Cell
from engine.units import MISSING
from tui.charts.chart import Axis, Chart, Line
from tui.jobs.job import COLOURS, Field, Picture, Progress, mebibytes, number

TOKENS = 4096
WIDTHS = {
    "method": 8,
    "KLD": 17,
    "p50, p95, p99": 22,
    "max": 5,
    "same top": 13,
    "RMS Δp": 13,
    "perplexity": 13,
    "ratio": 14,
    "weights": 10,
    "decode tok/s": 12,
    "read tok/s": 10,
    "KLD then": 17,
}


class FidelityJob:
    """How far some profiles are from the first of them, on a text."""

    kind: RunKind = "fidelity"
    name = "Fidelity"
    explanation = "How far each profile's predictions are from the first one's, on the same text"
    suffixes: Sequence[str] = tuple(texts.SUFFIXES)
    done = "done: kept among the earlier runs (F4); Ctrl+S exports it"

    def __init__(self, names: Sequence[str], make: Callable[[Settings], Evaluation] = Evaluation) -> None:
        self._names, self._make = names, make
        self._evaluation: Evaluation | None = None
        self._report: Report | None = None  # an earlier one, shown again
        self._earlier: Report | None = None

    @property
    def fields(self) -> Sequence[Field]:
        """Reference and candidates, the text and how it is read."""
        return (
            Field("profiles", "reference, candidates", " ".join(self._names)),
            Field("text", "text", TEXTS[0], new_line=True, options=TEXTS),
            Field("window", "window", "512", 6),
            Field("tokens", "tokens", str(TOKENS), 8),
        )

    @property
    def title(self) -> str:
        """Who was compared with whom, and on what."""
        found = self._found
        if found is None:
            return ""
        names = ", ".join(row.profile for row in found.candidates)
        cut = found.convention
        text = f": {cut.text.partition(' ')[0]}, window {cut.window}, {cut.tokens} tokens" if cut else ""
        return f"{names} against {found.reference.profile}{text}"

    def prepare(self, values: Mapping[str, str]) -> None:
        """A new evaluation with these settings."""
        profiles = distinct([profile.find(name) for name in values["profiles"].split()])
        require_pair(profiles)
        settings = Settings(
            profiles=profiles,
            text=require_text(values["text"].strip()),
            window=number("window", values["window"], least=2),
            tokens=number("tokens", values["tokens"], least=2) if values["tokens"].strip() else None,
        )
        self._evaluation, self._report = self._make(settings), None

    async def run(self) -> AsyncGenerator[Progress]:
        """Read the text with one model after the other."""
        if self._evaluation is None:
            raise RuntimeError("prepare() comes first")
        async with aclosing(self._evaluation.run()) as events:
            async for event in events:
                yield progress(event)

    def body(self) -> bytes | None:
        """The report, once a model has scored something."""
        found = self._found
        scored = found is not None and any(row.tokens for row in (found.reference, *found.candidates))
        return msgspec.json.encode(found) if scored else None

    def open(self, body: bytes) -> None:
        """Show an earlier report."""
        self._report, self._earlier = _report(body), None

    def compare(self, body: bytes, title: str) -> None:
        """Put an earlier report's KLD beside the present one's."""
        self._earlier = _report(body)

    def export(self, file: Path) -> None:
        """Write the report as the file's name asks."""
        form = texts.format_of(file)
        if (found := self._found) is None:
            raise InputError("nothing was measured yet")
        tables.write(texts.text(found, form), file)

    @property
    def picture(self) -> Picture:
        """The reference, then the candidates, the nearest first."""
        found = self._found
        if found is None:
            return Picture()
        rows = (found.reference, *found.candidates)
        colours = {row.profile: COLOURS[place % len(COLOURS)] for place, row in enumerate(rows)}
        lines = table(found, self._earlier)
        reference = str(lines[0]["profile"])
        return Picture(
            rows=tuple(lines),
            widths=WIDTHS | {"profile": max(map(len, (*colours, reference)))},
            colours=colours | {reference: COLOURS[0]},
            charts=charts(found, colours),
            facts=(found.convention.line if found.convention else "",),
            notes=tuple(remarks(found)),
        )

    @property
    def _found(self) -> Report | None:
        return self._report or (self._evaluation.report if self._evaluation else None)


def progress(event: EvaluationEvent) -> Progress:
    """An event in words."""
    match event:
        case Loading(profile=name, stage=stage):
            return Progress(f"{name}: {stage_text(stage)}")
        case Advanced(profile=name, done=done, total=total, share=share, left_s=left_s):
            return Progress(f"{name}: {done} of {total} positions", share, left_s)
        case Timing(profile=name):
            return Progress(f"{name}: decode speed")
        case Finished(profile=name):
            return Progress(f"{name}: done")
        case Noted(text=text):
            return Progress(text)


def table(found: Report, earlier: Report | None) -> list[dict[str, Cell]]:
    """The same cells as the command line's; beside an earlier run's KLD."""
    lines = [texts.cells(found.reference, is_reference=True), *(texts.cells(row) for row in found.ranked)]
    if earlier is None:
        return lines
    then = {row.profile: texts.cells(row)["KLD"] for row in earlier.candidates}
    return [line | {"KLD then": then.get(str(line["profile"]), MISSING)} for line in lines]


def remarks(found: Report) -> list[str]:
    """Errors first, then what the reader should know."""
    rows = (found.reference, *found.candidates)
    errors = [f"{row.profile}: {row.error.message}" for row in rows if row.error]
    said = [remark for remark in texts.remarks(found) if remark not in errors]
    return [*errors, *said]


def charts(found: Report, colours: Mapping[str, str]) -> tuple[Chart, Chart]:
    """KLD against size and against speed: the lower left, and the lower right, are the better corners."""
    unit, size = mebibytes([row.weights_bytes or 0 for row in found.candidates])
    kld = Axis("nats", log=True)
    sizes = _points(found, colours, lambda row: row.weights_bytes / size if row.weights_bytes else None)
    speeds = _points(found, colours, lambda row: row.decode_tok_s)
    return (
        Chart(f"KLD, nats, against weights, {unit}", Axis(unit), kld, sizes),
        Chart("KLD, nats, against decode, tok/s", Axis("tok/s"), kld, speeds),
    )


def _points(found: Report, colours: Mapping[str, str], x: Callable[[Row], float | None]) -> tuple[Line, ...]:
    lines = []
    for row in found.candidates:
        place = x(row)
        if row.kld and row.kld.mean > 0 and place is not None:
            points = ((place, row.kld.mean),)
            lines.append(Line(row.profile, colours[row.profile], points, False, (row.kld.stderr,)))
    return tuple(lines)


def _report(body: bytes) -> Report:
    try:
        return msgspec.json.decode(body, type=Report)
    except msgspec.MsgspecError as error:
        raise InputError(f"that run was kept by another version: {error}") from error
