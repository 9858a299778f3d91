"""Views go with their process: in order where it ends, and by the next sweep where it is killed."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.checkpoints import views

HOLD = """
import sys
from engine.checkpoints import views
with views.new() as view:
    print(view, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of the test's own, for this process and its children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path


def test_a_view_is_gone_when_it_is_left() -> None:
    with views.new() as view:
        (view / "link").symlink_to("/etc")
        views.sweep()
        assert view.is_dir()
    assert not view.exists()


def test_a_view_outlives_a_sweep_and_a_killed_process_only_until_one(temporary: Path) -> None:
    stranger = temporary / "quantduel-other"
    stranger.mkdir()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD], text=True, **pipes) as holder:
        assert holder.stdout
        view = Path(holder.stdout.readline().strip())
        (view / "link").symlink_to("/etc")
        views.sweep()
        assert view.is_dir() and view.parent == temporary
        holder.kill()
    views.sweep()
    assert [file.name for file in temporary.iterdir()] == [stranger.name]
    assert Path("/etc").is_dir()
