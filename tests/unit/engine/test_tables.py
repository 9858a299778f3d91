"""Rows and figures as text."""

import csv
import json
import os
import time
from pathlib import Path

import pytest

from engine import tables, units
from engine.errors import InputError

ROWS = [
    {"name": "a|b", "tok_s": 12.345, "contended": False, "n": 3},
    {"name": "\x1b[31m", "tok_s": None, "contended": True, "n": 12},
]


def test_a_table_is_aligned_and_harmless() -> None:
    assert tables.table(ROWS).splitlines() == [
        "name   tok s  contended   n",
        "a|b     12.3  no          3",
        "␛[31m      –  yes        12",
    ]
    assert tables.table(ROWS, width=10).splitlines()[0] == "name   to…"
    assert tables.table([]) == ""


def test_every_format_holds_the_same_rows() -> None:
    assert json.loads(tables.json(ROWS)) == ROWS
    assert [json.loads(line) for line in tables.jsonl(ROWS).splitlines()] == ROWS
    assert [row["n"] for row in csv.DictReader(tables.csv_text(ROWS).splitlines())] == ["3", "12"]
    assert tables.markdown(ROWS).splitlines()[1:3] == [
        "| --- | --: | --- | --: |",
        "| a\\|b | 12.3 | no | 3 |",
    ]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (units.bytes_text(269_060_000), "256.6 MiB"),
        (units.bytes_text(16 * units.GIB), "16.00 GiB"),
        (units.bytes_text(2000), "2 KiB"),
        (units.bytes_text(None), "–"),
        (units.speed_text(24.31), "24.3 tok/s"),
        (units.speed_text(1234.5), "1234 tok/s"),
        (units.ms_text(83.21), "83.2 ms"),
        (units.ms_text(2070), "2.07 s"),
        (units.seconds_text(125), "2 min 5 s"),
        (units.digits(0.001234), "0.00123"),
        (units.digits(34.23), "34.2"),
        (units.digits(999.7), "1000"),
        (units.digits(12345.6), "12346"),
        (units.share_text(3, 7), "42 %"),
        (units.share_text(3, 0), ""),
    ],
)
def test_figures_have_their_unit_and_three_digits(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ("2026-11-27T23:41:07+00:00", "2026-11-28 05:11"),
        ("2026-11-27T23:41:07", "2026-11-28 05:11"),
        ("2026-11-28T05:11:07+05:30", "2026-11-28 05:11"),
        ("yesterday", "yesterday"),
    ],
)
def test_times_are_those_of_where_the_user_is(kept: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "IST-5:30")
    time.tzset()
    assert units.time_text(kept) == shown
    assert units.time_text(kept, with_zone=True) in {f"{shown} IST", "yesterday"}
    monkeypatch.undo()
    time.tzset()


def test_no_format_has_a_character_that_a_terminal_acts_on() -> None:
    evil = "a\x1b]0;t\x07\x9b31m\x7f\u202e\u2028\r"
    for form in tables.FORMATS.values():
        text = form([{evil: evil}])
        assert not set(text) & set("\x1b\x07\x9b\x7f\u202e\u2028\r"), text
    assert json.loads(tables.json([{"n": evil}])) == [{"n": evil}]


def test_a_spreadsheet_computes_no_text_and_numbers_stay_numbers() -> None:
    text = tables.csv_text(
        [{"name": start + "1+1", "n": -1.5} for start in "=+-@\t"] + [{"name": "a=b", "n": -2}]
    )
    assert [tuple(row) for row in csv.reader(text.splitlines())][1:] == [
        *((f"'{start}1+1", "-1.5") for start in "=+-@\t"),
        ("a=b", "-2"),
    ]


def test_a_file_that_is_there_is_overwritten_only_where_that_is_asked_for(tmp_path: Path) -> None:
    thesis, link, folder = tmp_path / "thesis.csv", tmp_path / "link.csv", tmp_path / "folder"
    thesis.write_text("…")
    link.symlink_to(thesis)
    folder.mkdir()
    for taken in (thesis, link):
        with pytest.raises(InputError, match="exists already"):
            tables.require_free(taken)
        assert tables.require_free(taken, replace=True) == thesis
    for no_file in (folder, Path(os.devnull)):
        with pytest.raises(InputError, match="is not a file"):
            tables.require_free(no_file, replace=True)
    tables.write("new", tables.require_free(link, replace=True))
    assert link.is_symlink() and thesis.read_text() == "new\n"
    with pytest.raises(InputError, match="reads or writes it already"):
        tables.require_free(link, replace=True, taken=[tmp_path / "else.csv", thesis])
    with pytest.raises(InputError, match="is not a folder"):
        tables.require_free(tmp_path / "none" / "x.csv")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(InputError, match="in a circle"):
        tables.require_free(tmp_path / "round")
