"""The user's settings file: as strict as a profile, and changed with its comments kept."""

from pathlib import Path

import pytest

from engine import paths
from engine.config import profiles, user_config
from engine.config.profiles import origin
from engine.config.user_config import TEMPLATE, Config
from engine.errors import InputError, ProfileError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))
    return paths.user_config()


def write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("text", [None, "", "# nothing\n", TEMPLATE])
def test_what_says_nothing_is_the_defaults(file: Path, text: str | None) -> None:
    if text is not None:
        write(file, text)
    assert user_config.read() == Config()


def test_every_line_of_the_template_is_a_setting(file: Path) -> None:
    lines = [line.removeprefix("# ") for line in TEMPLATE.splitlines()[1:]]
    write(file, "\n".join(lines))
    assert user_config.read().defaults.settings == {"temperature": 0.7}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "theme: nord\nlow_bandwith: on\n",
            "config.yaml:2: low_bandwith: unknown key (did you mean low_bandw",
        ),
        ("defaults:\n  schedule: concurent\n", "config.yaml:2: defaults.schedule: expected concurrent, seq"),
        ("alerts: {after_s: -1}\n", "config.yaml:1: alerts.after_s: expected a number of at least 0"),
        (
            "defaults:\n  settings:\n    stop: [a]\n    seed: {}\n",
            "config.yaml:4: defaults.settings.seed: expected",
        ),
        (
            "keymap:\n  duel.find: f9\n  duel.stop: 3\n",
            "config.yaml:3: keymap.duel.stop: expected text, not 3",
        ),
        ("keymap: [f9]\n", "config.yaml:1: keymap: expected a mapping of keys, not a list"),
        ("theme: [\n", "config.yaml:2: broken YAML: a bracket or quote is not closed"),
    ],
)
def test_a_fault_is_named_with_its_line(file: Path, text: str, says: str) -> None:
    write(file, text)
    with pytest.raises(ProfileError) as caught:
        user_config.read()
    assert says in str(caught.value)


def test_what_is_kept_leaves_comments_and_reads_back(file: Path) -> None:
    user_config.keep("theme", "nord")
    assert file.read_text() == TEMPLATE + "theme: nord\n"
    user_config.keep("defaults.schedule", "concurrent")
    user_config.keep("theme", "gruvbox")
    assert file.read_text().startswith(TEMPLATE + "theme: gruvbox\n")
    assert user_config.read().defaults.schedule == "concurrent"


def test_a_broken_file_is_not_written_over(file: Path) -> None:
    write(file, "theme: {\n")
    with pytest.raises(InputError):
        user_config.keep("theme", "nord")
    write(file, "them: nord\n")
    with pytest.raises(InputError, match="them"):
        user_config.keep("theme", "nord")
    assert file.read_text() == "them: nord\n"
    assert [found.name for found in file.parent.iterdir()] == ["config.yaml"]


def test_named_folders_have_profiles_of_the_users(file: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "far-away.yaml").write_text("model: {source: 'random:tiny'}")
    write(file, f"folders: {{profiles: [{more}]}}\n")
    assert profiles.find("far-away").model.source == "random:tiny"
    assert origin.of(more / "far-away.yaml") == "yours"
    assert not origin.remark("far-away")
