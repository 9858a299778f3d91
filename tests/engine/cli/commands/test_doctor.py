"""`quantduel doctor`: facts and exit codes."""

import json
from pathlib import Path

import pytest

from engine import cli


def test_json_reports_whether_models_can_be_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path / "deep" / "home"))
    assert cli.run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in found["checks"]}
    assert found["can_run_models"] is True
    assert checks["torch"]["state"] == "ok" and checks["textual"]["state"] == "ok"
    assert checks["demo"]["state"] == "note"
    assert checks["hub"]["detail"].startswith("offline by HF_HUB_OFFLINE")
    assert found["hardware"]["host"]["total_bytes"] > 0


def test_text_has_a_line_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor"]) == 0
    shown = capsys.readouterr().out
    for area in ("Packages", "Devices", "Memory and disk", "Models", "Terminal"):
        assert f"{area}\n" in shown
    assert shown.endswith("Models can be run here.\n")
