"""`quantduel profiles`: list, show, check."""

import json
import os
from pathlib import Path

import pytest
import yaml

from engine import cli, paths


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    return tmp_path


def test_the_list_is_a_table_and_json_of_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["profiles", "list"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["name", "method", "source", "device", "from", "description"]
    assert cli.run(["profiles", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    for line, row in zip(table[1:], rows, strict=True):
        assert (
            line.split()
            == f"{row['name']} {row['method']} {row['source']} auto shipped {row['description']}".split()
        )
    wanted = {"name": "smollm2-nf4", "method": "nf4", "source": "demo"}
    assert any(wanted.items() <= row.items() for row in rows)


def test_a_broken_profile_does_not_hide_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "profiles" / "broken.yaml").write_text("model: {source: demo}\nfoo: 1\n")
    assert cli.run(["profiles", "list"]) == 0
    out, err = capsys.readouterr()
    assert "smollm2-nf4" in out
    assert "profiles/broken.yaml:2: foo: unknown key" in err


def test_what_is_no_file_hides_nothing_and_is_not_waited_for(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(here / "profiles" / "pipe.yaml")
    (here / "profiles" / "folder.yaml").mkdir()
    (here / "profiles" / "device.yaml").symlink_to("/dev/zero")
    (here / "profiles" / "gone.yaml").symlink_to("nowhere")
    assert cli.run(["profiles", "list"]) == 0
    out, err = capsys.readouterr()
    assert "smollm2-nf4" in out
    for said in (
        "pipe.yaml: is a pipe",
        "folder.yaml: is a folder",
        "device.yaml: is a device",
        "gone.yaml: no",
    ):
        assert said in err
    assert cli.run(["plan", "profiles/pipe.yaml"]) == 2


def test_show_writes_the_defaults_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["profiles", "show", "smollm2-nf4"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["quantization"]["quant_type"] == "nf4"
    assert shown["generation"]["max_new_tokens"] == 256


def test_check_reports_every_fault_of_every_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = here / "good.yaml", here / "bad.yaml"
    good.write_text("model: {source: demo}\n")
    bad.write_text("model: {source: 3}\nquantization: {method: bitsandbytes, bits: 3.5}\n")
    assert cli.run(["profiles", "check", str(good)]) == 0
    assert "1 profile, no errors" in capsys.readouterr().err
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


def test_a_profile_of_this_folder_runs_no_code_by_its_name_and_says_whose_it_hides(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
    (here / "model").mkdir()
    (here / "model" / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "code.Config"}}))
    (here / "model" / "code.py").write_text(code)
    text = "model: {source: ../model, trust_remote_code: true}\n"
    (here / "profiles" / "smollm2-bf16.yaml").write_text(text)
    for command in (["duel", "smollm2-bf16", "random:tiny", "-p", "hi"], ["plan", "smollm2-bf16"]):
        assert cli.run(command) == 2
        err = capsys.readouterr().err
        assert "smollm2-bf16.yaml:1: model.trust_remote_code: a profile of the folder you are in" in err
        assert "profiles/smollm2-bf16.yaml" in err and str(paths.user_profiles()) in err
    assert cli.run(["profiles", "show", "smollm2-bf16"]) == 0  # reading it is what one should do
    assert "trust_remote_code: true" in capsys.readouterr().out
    (here / "profiles" / "smollm2-bf16.yaml").write_text("model: {source: demo}\n")
    assert cli.run(["plan", "smollm2-bf16"]) == 0
    remark = "smollm2-bf16 is profiles/smollm2-bf16.yaml of this folder, not the shipped profile\n"
    assert capsys.readouterr().err == remark
    assert cli.run(["profiles", "list"]) == 0
    out, err = capsys.readouterr()
    assert err == remark and " ./profiles" in next(
        line for line in out.splitlines() if "smollm2-bf16" in line
    )
