"""A server's answers folded into rows: stamps are chosen so that every figure is known."""

import csv
import json

import pytest
from msgspec.structs import replace

from engine.bench import document, rows, served_rows
from engine.bench import text as texts
from engine.bench.document import Document
from engine.bench.plan import Settings, Shape, checked
from engine.bench.rows import Latency, Row, Speeds
from engine.bench.served_rows import Taken
from engine.config import profiles
from engine.errors import InputError
from engine.jobs import sheet as sheets
from engine.protocol.answers import ServedFigures
from engine.protocol.model import ServedModel
from engine.protocol.runs import ServedAnswer, ServedMeasured
from tests.unit.engine.bench.samples import INFO, MS, TINY

SERVED = profiles.of_model("http://127.0.0.1:9/v1")
MODEL = replace(
    INFO,
    device_name="served by gpu2:8000",
    served=ServedModel(engine="vllm", address="gpu2:8000", round_trip_ms=1.5, at_once=True),
)
END = ServedMeasured(request=1, cpu_share=0.1, late_ms=0.2)


def answer(sent_ms: float, *token_ms: float, **changes: object) -> ServedAnswer:
    figures = ServedFigures(tokens=len(token_ms), prompt_tokens=64, reused_tokens=0, prefill_tok_s=800.0)
    found = ServedAnswer(
        sent_ns=int(sent_ms * MS), token_ns=tuple(int(ms * MS) for ms in token_ms), figures=figures
    )
    return replace(found, **changes)


def empty(at_once: int = 0) -> Row:
    return rows.empty(SERVED.name, Shape(64, 1, at_once), MODEL)


def test_repeats_one_after_the_other_are_means_and_prefill_is_the_servers() -> None:
    taken = [Taken((answer(100, 150, 160, 170),), END), Taken((answer(300, 370, 390, 410),), END)]
    row = served_rows.filled(empty(), 3, taken)
    assert row.served and row.marks == () and row.peak_bytes is None and row.bandwidth_share is None
    assert row.ttft_ms and row.ttft_ms.samples == (50, 70)
    assert row.decode_tok_s and row.decode_tok_s.samples == (pytest.approx(100), pytest.approx(50))
    assert row.itl_ms == Latency(pytest.approx(15), pytest.approx(20))
    assert row.prefill_tok_s and row.prefill_tok_s.mean == 800
    assert row.stamps[1].prefilled_ns is None and row.stamps[1].token_ns == (70 * MS, 90 * MS, 110 * MS)


def test_what_differs_from_what_was_asked_is_marked() -> None:
    short = answer(0, 10, 20, figures=ServedFigures(tokens=2, prompt_tokens=80, reused_tokens=48))
    late = replace(END, cpu_share=0.9, late_ms=3.0, contended=True)
    row = served_rows.filled(empty(), 3, [Taken((replace(short, connected=True),), late)])
    assert row.prefill_tok_s is None
    assert row.marks == (
        "2 of 3 tokens came",
        "prompts of 80 tokens",
        "up to 48 of a prompt's tokens were in the server's cache",
        "connections were made anew: TTFT holds that",
        "contended: the server answered others meanwhile",
        "the client was the limit: 90% of a core",
        "stamps up to 3 ms late: the client waited for a processor",
    )


def test_a_level_has_percentiles_over_whole_answers_and_all_their_tokens() -> None:
    whole = [answer(10 * n, 10 * n + 100 + n, 10 * n + 120 + n, 10 * n + 140 + n) for n in range(1, 6)]
    cut = answer(5, 30, failure="cut off after 1 token: the server was silent for 120 s")
    row = served_rows.filled_at_once(empty(4), 3, Taken((*whole, cut), END))
    many = row.many
    assert many and (many.requests, many.failed, many.tokens) == (6, 1, 15)
    assert many.seconds == pytest.approx(
        (50 + 140 + 5 - 5) / 1000
    )  # from the first request to the last token
    assert many.total_tok_s == pytest.approx(15 / many.seconds)
    assert many.ttft_ms == Latency(103, pytest.approx(104.8))
    assert many.request_tok_s == Speeds(pytest.approx(50), pytest.approx(50))
    assert row.itl_ms == Latency(20, 20)
    assert row.marks == ("1 of 6 failed: cut off after 1 token: the server was silent for 120 s",)
    assert row.decode_tok_s is None and row.ttft_ms is None


def test_answers_that_came_in_lumps_have_no_itl_and_uncounted_ones_no_total() -> None:
    lump = answer(0, 10, 20, 20)
    row = served_rows.filled_at_once(empty(2), 3, Taken((answer(0, 10, 20, 30), lump), END))
    assert row.itl_ms == Latency(10, 10)
    assert row.marks == ("ITL without 1 of 2 answers, of which a read brought several tokens",)
    unknown = answer(0, 10, 20, counted=False, figures=None)
    found = served_rows.filled_at_once(empty(2), 3, Taken((unknown,), END))
    assert found.many and found.many.total_tok_s is None and found.many.request_tok_s is None


def levels() -> Document:
    settings = Settings(profiles=(SERVED,), contexts=(64,), concurrency=(1, 4), steps=3, requests=2)
    found = document.begun(settings).with_model(SERVED.name, MODEL)
    for level in (1, 4):
        many = [answer(1, 101, 121, 141)] * 2 * level
        found = found.with_row(served_rows.filled_at_once(empty(level), 3, Taken(tuple(many), END)))
    return found


def test_every_format_shows_every_level_and_the_pictures_join_them() -> None:
    sheet = texts.sheet(levels())
    table, markdown, page = (sheets.text(sheet, form) for form in ("table", "md", "html"))
    assert "fp8, Quick, served by gpu2:8000, 1.50 ms round trip" in table
    assert "memory –" not in table and "prefill –" not in table  # no columns of these
    assert "2 of 2" in table and "8 of 8" in table and "171.4" in table
    assert "total tok/s after 64 tokens; before each its requests at once" in markdown
    assert page.count('class="point"') == 2 and page.count('class="error"') == 1
    first, second = csv.DictReader(sheets.text(sheet, "csv").splitlines())
    assert (first["at_once"], second["at_once"], second["requests"]) == ("1", "4", "8")
    assert float(second["total_tok_s"]) == pytest.approx(24 / 0.14)
    whole = json.loads(sheets.text(sheet, "json"))
    assert whole["rows"][1]["many"]["ttft_ms"] == {"p50": 100, "p95": 100}
    assert levels().missing() == [] and [row.at_once for row in levels().rows] == [1, 4]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"profiles": (SERVED, TINY)}, "tiny: a model in a worker answers one request at a time"),
        ({"concurrency": (1, 4096)}, "1024 at most"),
        ({"batches": (2,)}, "without --batch"),
        ({"schedule": "concurrent"}, "one side after the other"),
    ],
)
def test_what_cannot_be_asked_at_once_is_refused(changes: dict[str, object], said: str) -> None:
    settings = Settings(**({"profiles": (SERVED,), "concurrency": (1, 4)} | changes))
    with pytest.raises(InputError, match=said):
        checked(settings)


def test_a_level_asks_twice_as_many_as_are_under_way() -> None:
    settings = Settings(profiles=(SERVED,), contexts=(64,), concurrency=(1, 16), requests=5)
    runs = [settings.served_run(shape) for shape in settings.shapes]
    assert [(run.at_once, run.requests) for run in runs] == [(1, 5), (16, 32)]
    assert settings.served_warm_up(settings.shapes[1]).requests == 16
