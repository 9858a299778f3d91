"""A bench's document in every format."""

import csv
import json

import pytest
from msgspec.structs import replace

from engine.bench import document, rows
from engine.bench import text as texts
from engine.bench.plan import Shape
from engine.jobs import sheet as sheets
from engine.protocol.failure import Failed
from engine.protocol.model import Energy
from engine.stats import energy
from tests.unit.engine.bench.samples import INFO, TINY, row, settings


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


def test_joules_are_columns_where_a_row_has_some_and_the_others_have_a_reason() -> None:
    first, second = (profile.name for profile in settings().profiles)
    counted = replace(INFO, energy=Energy(counter="RAPL", idle_watts=11.25))
    forbidden = replace(INFO, energy=Energy(lack="RAPL not readable"))
    found = document.begun(settings(batches=(1, 2))).with_model(first, counted).with_model(second, forbidden)
    found = found.with_row(row(2, name=first, joules=(4.0, 2.0))).with_row(row(name=second))
    sheet = texts.sheet(found)
    other, mine = sheet.rows
    assert (mine["J/token"], mine["mean W"]) == ("0.38 ± 0.18", "10")
    assert (other["J/token"], other["mean W"]) == ("–", "–")
    assert "idle draw of cpu, before loading: 11.2 W" in sheet.below
    assert f"{second}: J/token –: {energy.WHY['RAPL not readable']}" in sheet.below
    assert [each["joules_per_token"] for each in sheet.numbers] == [None, 0.375]
    whole = json.loads(sheets.text(sheet, "json"))
    assert whole["rows"][1]["mean_watts"]["samples"] == [10.0, 10.0]
    assert whole["header"]["models"][second]["energy"]["lack"] == "RAPL not readable"


def test_without_any_joules_there_are_no_columns_and_one_line_says_why() -> None:
    both = [profile.name for profile in settings().profiles]
    served = replace(INFO, energy=Energy(lack="server"))
    found = document.begun(settings())
    for name in both:
        found = found.with_model(name, served).with_row(row(name=name, joules=(1.0, None)))
    sheet = texts.sheet(found)
    assert "J/token" not in sheet.rows[0]
    said = [line for line in sheet.below if "J/token" in line]
    assert said == [f"{', '.join(both)}: J/token –: a server does not say what its answers take"]
