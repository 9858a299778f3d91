"""A bench's document in every format."""

import csv
import json

import pytest

from engine.bench import document, rows
from engine.bench import text as texts
from engine.bench.plan import Shape
from engine.jobs import sheet as sheets
from engine.protocol import Failed
from tests.unit.engine.bench.samples import TINY, row, settings


def test_every_format_shows_every_row() -> None:
    name = TINY.name
    bad = rows.failed(rows.empty(name, Shape(64, 1), None), Failed(kind="out_of_memory", message="too | big"))
    found = document.begun(settings()).with_row(bad).with_row(row(name=name))
    assert [each.context for each in found.rows] == [32, 64]  # in the matrix's order
    whole = json.loads(sheets.text(texts.sheet(found), "json"))
    assert whole["rows"][0]["decode_tok_s"] == {
        "mean": 15,
        "stdev": pytest.approx(50**0.5),
        "samples": [10, 20],
    }
    assert whole["rows"][1]["error"]["kind"] == "out_of_memory" and whole["rows"][1]["decode_tok_s"] is None
    assert whole["header"]["settings"]["contexts"] == [32, 64] and whole["header"]["starts"][0]["at"]
    assert [json.loads(line) for line in sheets.text(texts.sheet(found), "jsonl").splitlines()] == whole[
        "rows"
    ]
    first, second = csv.DictReader(sheets.text(texts.sheet(found), "csv").splitlines())
    assert (first["decode_tok_s"], first["peak_bytes"]) == ("15.0", "500")
    assert (second["decode_tok_s"], second["error"]) == ("", "too | big")
    table, markdown = sheets.text(texts.sheet(found), "table"), sheets.text(texts.sheet(found), "md")
    assert "15.0 ± 7.1" in table and "15.0 ± 7.1" in markdown
    assert "too | big" in table and "too \\| big" in markdown
    assert "per sequence" not in table  # nothing was batched
