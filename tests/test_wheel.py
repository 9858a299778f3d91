"""The wheel as people get it, installed where the source tree is not: lists, plans, duels, opens the app."""

import json
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.tui.program import Terminal

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def quantduel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh environment with the wheel, and with the packages of this one behind it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "behind.pth").write_text("\n".join(site.getsitepackages()))  # no .pth of theirs is followed
    return folder / "bin" / "quantduel"


@pytest.fixture(autouse=True)
def nothing_of_the_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the folder one is in nor a variable leads to the source tree; nothing is compiled anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("QUANTDUEL_STEP", "native")


def output(*command: str | Path) -> str:
    """Of a command that ends well."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_wheel_has_the_three_packages_and_all_of_their_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files", "engine", "tui", "profiles"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert {name.partition("/")[0] for name in names} == {"engine", "tui", "profiles"}
    assert set(tracked) <= names


def test_it_is_the_installed_code_that_runs(quantduel: Path) -> None:
    code = "import engine, tui, profiles; print(engine.__file__, tui.__file__, profiles.__file__)"
    files = output(quantduel.with_name("python"), "-c", code).split()
    assert all(quantduel.parents[1] in Path(file).parents for file in files)


def test_it_lists_and_plans_profiles(quantduel: Path) -> None:
    assert {"smollm2-bf16", "smollm2-nf4"} <= set(output(quantduel, "profiles", "list").split())
    assert "needed for" in output(quantduel, "plan", "random-tiny-nf4")


def test_it_duels(quantduel: Path) -> None:
    call = [quantduel, "duel", "random:tiny", "random:tiny", "-p", "hi", "--max-new-tokens", "4", "--json"]
    sides = json.loads(output(*call, "--no-history"))["sides"]
    assert [len(side["token_ids"]) for side in sides] == [4, 4]


def test_it_opens_the_app(quantduel: Path) -> None:
    terminal = Terminal("random:tiny", "random:tiny", program=[str(quantduel)])
    try:
        terminal.begin("screen")
        terminal.wait(lambda: "random:tiny" in terminal.screen, "the profiles are shown")
        terminal.type("\x04")  # Ctrl+D
        terminal.wait(lambda: terminal.process.poll() is not None, "the program ends")
        assert terminal.process.returncode == 0
    finally:
        terminal.close()
