"""Profiles written into the user's own files: comments kept, shipped ones untouched, read back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine import paths
from engine.config import profiles
from engine.config.profile import Profile
from engine.config.profiles import changed, saving
from engine.errors import InputError, ProfileError

COMMENTED = """\
# my profile
model:
  source: ./weights   # beside this file
prompt: {template: mine.jinja}
worker: {python: ./python}
generation:
  temperature: 0.7   # warm
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "python").touch()
    (tmp_path / "mine.jinja").write_text("{{ messages }}")
    file = tmp_path / "mine.yaml"
    file.write_text(COMMENTED)
    return file


def test_a_changed_profile_keeps_its_comments(mine: Path) -> None:
    wanted = changed(profiles.read(mine), {"temperature": 0.2, "prompt.system": "Be brief."})
    saving.save(wanted, mine, mine)
    text = mine.read_text()
    assert profiles.read(mine) == wanted
    assert "# my profile" in text and "source: ./weights   # beside this file" in text
    assert "temperature: 0.2   # warm" in text


def test_a_copy_elsewhere_names_its_files_in_full(mine: Path, tmp_path: Path) -> None:
    wanted = profiles.read(mine)
    copy = tmp_path / "elsewhere" / "copy.yaml"
    saving.save(wanted, mine, copy)
    found = profiles.read(copy)
    assert found.model == wanted.model and found.prompt == wanted.prompt
    assert found.worker == wanted.worker
    assert "# warm" in copy.read_text()
    (served := tmp_path / "served.yaml").write_text("model: {source: org/name}\nserve: {python: ./python}\n")
    saving.save(profiles.read(served), served, copy)
    assert profiles.read(copy).serve == profiles.read(served).serve


@pytest.mark.parametrize("name", sorted(profiles.available()))
def test_every_shipped_profile_can_be_copied_and_changed(name: str, tmp_path: Path) -> None:
    base = profiles.available()[name]
    before = base.read_bytes()
    wanted = changed(profiles.read(base), {"seed": 5, "stop": ["User:", "\n\n"], "prompt.thinking": "off"})
    file = tmp_path / "copy.yaml"
    saving.save(wanted, base, file)
    assert profiles.read(file) == replace(wanted, name="copy")
    assert base.read_bytes() == before
    comments = [line for line in base.read_text().splitlines() if line.startswith("#")]
    assert [line for line in file.read_text().splitlines() if line.startswith("#")] == comments


def test_a_bare_model_becomes_a_profile(tmp_path: Path) -> None:
    wanted = profiles.find("random:tiny")
    saving.save(wanted, None, tmp_path / "tiny.yaml")
    assert profiles.read(tmp_path / "tiny.yaml").model == wanted.model


@pytest.mark.parametrize("name", ["", "  ", ".", "..", "a\nb", "a\0b", "x/y.txt"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        saving.place(name)


def test_a_shipped_profile_is_never_the_place(tmp_path: Path) -> None:
    shipped = paths.shipped_profiles() / "smollm2-nf4.yaml"
    link = tmp_path / "link.yaml"
    link.symlink_to(shipped)
    for name in (str(shipped), str(link)):
        with pytest.raises(InputError, match="shipped"):
            saving.place(name)
    assert saving.place("smollm2-nf4") == paths.user_profiles() / "smollm2-nf4.yaml"


def test_what_cannot_be_said_leaves_the_file_alone(
    tmp_path: Path, make_profile: Callable[..., Profile]
) -> None:
    base, file = tmp_path / "base.yaml", tmp_path / "there.yaml"
    base.write_text("- no profile\n")
    file.write_text("before")
    with pytest.raises(ProfileError):
        saving.save(make_profile(), base, file)
    assert file.read_text() == "before"
    assert {found.name for found in tmp_path.iterdir()} == {"base.yaml", "there.yaml", "tiny.yaml"}


def test_a_linked_file_stays_a_link_and_keeps_its_mode(mine: Path, tmp_path: Path) -> None:
    mine.chmod(0o600)
    link = tmp_path / "link.yaml"
    link.symlink_to(mine)
    saving.save(changed(profiles.read(mine), {"seed": 3}), mine, link)
    assert link.is_symlink() and "seed: 3" in mine.read_text()
    assert mine.stat().st_mode & 0o777 == 0o600
