"""What is its owner's alone, whatever the umask, and code that others could have planted."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import paths, private
from engine.results import Results
from engine.sanitize import without_userinfo

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture(autouse=True)
def careless() -> Iterator[None]:
    """A umask that forbids nothing."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_kept_results_are_their_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "data" / "deep" / "results.sqlite3"
    Results(file).keep_run("bench", "a run", b"{}")
    assert {mode(place) for place in (file.parent.parent, file.parent)} == {0o700}
    assert {mode(place) for place in file.parent.iterdir()} == {0o600}


def test_what_was_open_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "results.sqlite3"
    tmp_path.chmod(0o755)
    file.touch(0o644)
    Results(file).keep_run("bench", "a run", b"{}")
    assert (mode(tmp_path), mode(file)) == (0o700, 0o600)


@pytest.mark.parametrize("opened", ["root", "root/numba", "root/numba/key", "root/numba/key/planted"])
def test_code_that_others_could_have_planted_is_removed(tmp_path: Path, opened: str) -> None:
    root, folder = tmp_path / "root", tmp_path / "root/numba/key"
    private.code_folder(folder, root)
    kept = root / "demo"
    for file in (folder / "planted", kept):
        file.touch(0o600)
    assert private.code_folder(folder, root) == folder and (folder / "planted").exists()
    (tmp_path / opened).chmod(0o777)
    private.code_folder(folder, root)
    assert not list(folder.iterdir()) and kept.exists()
    assert not any(map(private.others_can_write, (root, folder.parent, folder)))


def test_no_code_is_taken_from_somebody_elses_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private.code_folder(tmp_path / "root/key", tmp_path / "root")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="somebody else"):
        private.code_folder(tmp_path / "root/key", tmp_path / "root")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("https://me:secret@hub.example/org", "https://hub.example/org"),
        ("at http://me:se@cret@host:80, then", "at http://host:80, then"),
        ("https://token@host", "https://host"),
        ("https://host/a@b and me@mail.example", "https://host/a@b and me@mail.example"),
        ("socks5h://u:p@host socks4://v@host", "socks5h://host socks4://host"),
    ],
)
def test_no_address_shows_a_password(said: str, shown: str) -> None:
    assert without_userinfo(said) == shown


def test_the_hubs_address_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@hub.example/")
    assert paths.hub_endpoint() == "https://hub.example"
