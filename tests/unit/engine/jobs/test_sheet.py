"""Results in every format, by a file's name."""

import csv
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.errors import InputError
from engine.jobs.plot import Plot, Point
from engine.jobs.sheet import SUFFIXES, Sheet, format_of, text

SHEET = Sheet(
    above=["machine\x1b"],
    rows=[{"profile": "a", "speed": "1 tok/s"}],
    below=["slow"],
    numbers=[{"profile": "a", "speed_tok_s": 1.0}],
    records=[{"profile": "a", "speed": 1.0}],
    document={"rows": 1},
)


def test_every_suffix_is_a_format() -> None:
    written = {suffix: text(SHEET, format_of(Path("x" + suffix))) for suffix in SUFFIXES}
    assert json.loads(written[".json"]) == {"rows": 1}
    assert json.loads(written[".jsonl"]) == {"profile": "a", "speed": 1.0}
    assert list(csv.DictReader(written[".csv"].splitlines())) == [{"profile": "a", "speed_tok_s": "1.0"}]
    assert written[".md"].splitlines()[0] == "- machine␛" and written[".md"].splitlines()[-1] == "- slow"
    assert written[".html"].startswith("<!doctype html>") and "<td>1 tok/s</td>" in written[".html"]
    assert written[".txt"] == "machine␛\n\nprofile  speed\na        1 tok/s\n\nslow"


def test_what_is_empty_leaves_no_blank_lines() -> None:
    assert text(Sheet(above=["only"]), "table") == "only"


def test_a_table_gives_way_to_a_narrow_terminal_and_files_do_not() -> None:
    assert max(map(len, text(SHEET, "table", 12).splitlines())) == 12
    assert text(SHEET, "md", 12) == text(SHEET, "md")


def test_another_name_is_refused() -> None:
    with pytest.raises(InputError, match="which format"):
        format_of(Path("bench.pdf"))


def test_a_page_and_markdown_begin_with_what_it_means_and_hold_the_settings() -> None:
    sheet = replace(
        SHEET,
        title="a against <b>",
        verdicts=["a: good enough"],
        settings={"a": "system: '```' <script>"},
        plots=[Plot(title="t", x_name="x", points=(Point("a", 1, 1),))],
    )
    page = text(sheet, "html")
    assert "<h1>a against &lt;b&gt;</h1>" in page and "<script" not in page
    places = [
        page.index(part) for part in ("a: good enough", "1 tok/s", "<circle", "slow", "machine", "&lt;script")
    ]
    assert places == sorted(places) and "http" not in page.replace("http-equiv", "")
    shared = text(sheet, "md")
    assert shared.startswith("- a: good enough\n\n- machine") and shared.endswith("````\n\n</details>")
    assert "````yaml\n# a\nsystem: '```' <script>" in shared
    assert text(sheet, "table").endswith("slow\n\na: good enough")
