"""`quantduel config` and `quantduel completion`, as a shell calls them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = next(place for place in Path(__file__).parents if (place / "pyproject.toml").is_file())


def quantduel(*args: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"QUANTDUEL_HOME": str(home)} | variables
    command = [sys.executable, "-m", "tui", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)


def test_show_path_and_edit(tmp_path: Path) -> None:
    file = tmp_path / "config" / "config.yaml"
    assert quantduel("config", "path", home=tmp_path).stdout == f"{file}\n"
    assert "schedule: auto" in quantduel("config", "show", home=tmp_path).stdout
    edited = quantduel("config", "edit", home=tmp_path, VISUAL="sed -i 's/# theme/themes/'")
    assert edited.returncode == 2
    assert "config.yaml:2: themes: unknown key" in edited.stderr and "did you mean theme?" in edited.stderr


def test_a_key_that_there_is_not_is_named_before_the_screen_opens(tmp_path: Path) -> None:
    file = tmp_path / "config" / "config.yaml"
    file.parent.mkdir()
    file.write_text("theme: nord\nkeymap:\n  duel.setings: f9\n")
    master, slave = os.openpty()
    env = os.environ | {"QUANTDUEL_HOME": str(tmp_path), "TERM": "xterm"}
    streams = {"stdin": slave, "stdout": slave, "stderr": slave}
    process = subprocess.Popen([sys.executable, "-m", "tui"], cwd=ROOT, env=env, **streams)
    assert process.wait(60) == 2
    os.close(slave)
    said = os.read(master, 1 << 14).decode()
    os.close(master)
    assert "config.yaml:3: keymap.duel.setings: no key has this name" in said
    assert "did you mean duel.settings?" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "defaults:\n  settings:\n    seed: 1\n    temperature: hot",
            ":4: defaults.settings.temperature: expected a number, not 'hot'\n",
        ),
        ("defaults:\n  settings: {foo.bar: 1}", ":2: defaults.settings.foo.bar: unknown key\n  known here: "),
        ("defaults:\n  a: smollm2-bf61", ":2: defaults.a: no profile named 'smollm2-bf61'\n  did you mean"),
        ("defaults:\n  b: ./none.yaml", ":2: defaults.b: none.yaml: no such file\n"),
        ("defaults:\n  b: ''", ":2: defaults.b: expected text that is not empty, not ''\n"),
        ("defaults:\n  schedule: both", ":2: defaults.schedule: expected"),
    ],
)
def test_what_it_begins_with_is_checked(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(text)
    result = quantduel(home=tmp_path)
    assert result.returncode == 2 and f"config.yaml{says}" in result.stderr


@pytest.mark.parametrize(
    ("line", "found", "missing"),
    [
        ("quantduel sm", {"smollm2-bf16", "smollm2-nf4"}, {"store"}),
        ("quantduel st", {"store"}, {"smollm2-nf4"}),
        ("quantduel smollm2-bf16 smollm2-n", {"smollm2-nf4"}, {"smollm2-bf16"}),
        ("quantduel plan smollm2-bf16 opt-125m-i", {"opt-125m-int8"}, {"smollm2-bf16"}),
        ("quantduel duel --sch", {"--schedule"}, set()),
        ("quantduel --theme gr", {"gruvbox"}, {"nord"}),
        ("quantduel smollm2-bf16 --theme ", {"quantduel-light", "nord"}, {"smollm2-bf16"}),
        ("quantduel serve smollm2-n", {"smollm2-nf4"}, set()),
        ("quantduel duel --schedule s", {"sequential", "swap"}, {"concurrent"}),
    ],
)
def test_a_shell_completes_commands_options_and_profiles(
    tmp_path: Path, line: str, found: set[str], missing: set[str]
) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    result = quantduel(home=tmp_path, _QUANTDUEL_COMPLETE="bash_complete", **words)
    offered = {row.partition(",")[2] for row in result.stdout.splitlines()}
    assert found <= offered and not missing & offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(tmp_path: Path, shell: str) -> None:
    result = quantduel("completion", shell, home=tmp_path)
    assert f"_QUANTDUEL_COMPLETE={shell}_complete" in result.stdout
