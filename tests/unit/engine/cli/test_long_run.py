"""A file of results that cannot be written."""

from pathlib import Path

import pytest

from engine.cli import long_run
from engine.cli.long_run import OutFile
from engine.errors import ExitCode, InputError
from engine.jobs.sheet import Sheet


def test_a_file_that_cannot_be_written_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = OutFile(tmp_path / "rows.json")
    out.begin(Sheet(document=1))
    with monkeypatch.context() as full:
        full.setattr(long_run, "write", _full)
        out.write(Sheet(document=2))
        out.write(Sheet(document=3))
        assert out.failed
        assert long_run.exit_code(ExitCode.DONE, out, interrupted=False) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err.count("No space left") == 1
    assert out.file.read_text() == "1\n"
    out.write(Sheet(document=4))
    assert out.file.read_text() == "4\n"
    assert long_run.exit_code(ExitCode.DONE, out, interrupted=False) == ExitCode.DONE


def _full(text: str, file: Path) -> None:
    raise InputError(f"{file}: No space left on device")
