"""`quantduel env`: what is there, what is wrong with it, and its removal."""

import json
from pathlib import Path

import msgspec
import pytest

from engine import paths
from engine.cli import run
from engine.config.environments import MARK, SHIPPED, Mark


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))


def made(name: str) -> Path:
    """A folder that says that it is whole."""
    folder = paths.environments() / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    mark = Mark(name=name, created="2026-11-28T00:00:00+00:00", requirements=())
    (folder / MARK).write_bytes(msgspec.json.encode(mark))
    return folder


def test_the_list_has_what_is_shipped_and_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    made("autoawq")
    assert run(["env", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["state"] for row in rows} == {
        "auto-gptq": "not made",
        "autoawq": "not as pinned",
    }
    assert rows[0]["transformers"] == SHIPPED["auto-gptq"].versions["transformers"]


def test_what_differs_from_the_list_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    made("autoawq")
    assert run(["env", "check", "autoawq"]) == 3
    said = capsys.readouterr().err
    assert f"torch is not installed, pinned is {SHIPPED['autoawq'].versions['torch']}" in said
    assert "quantduel env create --force autoawq" in said


def test_an_environment_is_removed_and_one_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = made("autoawq")
    assert run(["env", "remove", "autoawq"]) == 0 and not folder.exists()
    assert run(["env", "remove", "autoawq"]) == 2
    assert "there is no environment named 'autoawq'" in capsys.readouterr().err
    assert run(["env", "create", "autowq"]) == 2
    assert "autoawq" in capsys.readouterr().err
