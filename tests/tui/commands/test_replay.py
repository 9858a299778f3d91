"""`quantduel replay` and `quantduel demo` before the screen opens: what is played, what is no recording."""

from pathlib import Path

import click
import pytest

from engine import cli
from engine.errors import FileError, InputError
from engine.recordings.document import json_text
from engine.recordings.recording import shipped
from tui.__main__ import COMMANDS
from tui.commands import replay

OWN = {name: cli.Own(words, f"tui.commands.{name}") for name, words in COMMANDS.items()}


def test_a_file_or_a_number(tmp_path: Path) -> None:
    (file := tmp_path / "duel.json").write_text(json_text(shipped()))
    assert replay.found(str(file)).turns == shipped().turns
    with pytest.raises(InputError, match="no kept duel 987654321"):
        replay.found("987654321")
    for name in ("9" * 25, "9" * 300, "9" * 5000):
        with pytest.raises(InputError):
            replay.found(name)
    with pytest.raises(FileError, match="is a device, not a file"):
        replay.found("/dev/zero")


@pytest.mark.parametrize(("text", "speed"), [("2x", 2.0), ("0.5×", 0.5), ("16", 16.0)])
def test_a_speed(text: str, speed: float) -> None:
    assert replay.Speed().convert(text, None, None) == speed


@pytest.mark.parametrize("text", ["fast", "0x", "-1x", "1e9", "", "99999"])
def test_no_speed(text: str) -> None:
    with pytest.raises(click.BadParameter):
        replay.Speed().convert(text, None, None)


def test_the_commands_of_the_screen_are_listed_and_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"], own=OWN) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in COMMANDS) and "  history " in listed
    assert cli.run(["replay", "no-such-file.json"], own=OWN) == 2
    assert "no-such-file.json: no such file" in capsys.readouterr().err
    assert cli.run(["demo", "--help"], own=OWN) == 0
