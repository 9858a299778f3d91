"""`quantduel arena` and `quantduel leaderboard`: bad input."""

from pathlib import Path

import pytest

from engine import cli

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without votes. The models here need no download."""
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))
    return tmp_path


def test_prompts_do_not_come_from_where_votes_come_from(capsys: Capture) -> None:
    assert cli.run(["arena", "random:tiny", "random:tiny", "--prompts", "-"]) == 2
    assert "votes are read from stdin" in capsys.readouterr().err


def test_a_damaged_history_is_one_line(own_home: Path, capsys: Capture) -> None:
    file = own_home / "data" / "history.sqlite3"
    file.parent.mkdir()
    file.write_text("no database at all " * 99)
    assert cli.run(["leaderboard"]) == 2
    assert "file is not a database" in capsys.readouterr().err


def test_an_export_needs_a_known_name(own_home: Path, capsys: Capture) -> None:
    assert cli.run(["leaderboard", "--export", "board.xls"]) == 2
    assert ".csv" in capsys.readouterr().err
