"""`quantduel profiles`: list, show, check."""

import json
from pathlib import Path

import pytest
import yaml

from engine import cli


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    return tmp_path


def test_the_list_is_a_table_and_json_of_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["profiles", "list"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["name", "method", "source", "device", "description"]
    assert cli.run(["profiles", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    for line, row in zip(table[1:], rows, strict=True):
        assert (
            line.split() == f"{row['name']} {row['method']} {row['source']} auto {row['description']}".split()
        )
    wanted = {"name": "smollm2-nf4", "method": "nf4", "source": "demo"}
    assert any(wanted.items() <= row.items() for row in rows)


def test_a_broken_profile_does_not_hide_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "profiles" / "broken.yaml").write_text("model: {source: demo}\nfoo: 1\n")
    assert cli.run(["profiles", "list"]) == 0
    out, err = capsys.readouterr()
    assert "smollm2-nf4" in out
    assert "profiles/broken.yaml:2: foo: unknown key" in err


def test_show_writes_the_defaults_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["profiles", "show", "smollm2-nf4"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["quantization"]["quant_type"] == "nf4"
    assert shown["generation"]["max_new_tokens"] == 256


def test_check_tells_every_fault_of_every_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = here / "good.yaml", here / "bad.yaml"
    good.write_text("model: {source: demo}\n")
    bad.write_text("model: {source: 3}\nquantization: {method: bitsandbytes, bits: 3.5}\n")
    assert cli.run(["profiles", "check", str(good)]) == 0
    assert "1 profile, no fault" in capsys.readouterr().err
    assert cli.run(["profiles", "check", str(good), str(bad), str(here / "none.yaml")]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines() == [
        f"quantduel: {bad}:1: model.source: expected text, not 3",
        f"quantduel: {bad}:2: quantization.bits: expected 4 or 8, not 3.5",
        f"quantduel: {here}/none.yaml: no such file",
    ]


def test_check_without_files_checks_what_is_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["profiles", "check"]) == 0
    (here / "profiles" / "mine.yaml").write_text("")
    assert cli.run(["profiles", "check"]) == 2
    assert "mine.yaml: is empty" in capsys.readouterr().err
