"""An empty place to find profiles in."""

from pathlib import Path

import pytest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and an empty configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path / "home"))
    return tmp_path
