"""Boundaries that import-linter cannot see: what a clean interpreter imports, and tables that must match."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config import methods

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "bitsandbytes", "gptqmodel", "accelerate", "safetensors", "huggingface_hub"}


FRONT_ENDS = ["tui.__main__", "tui.app", "engine.cli", "engine.duel.duel", "engine.session.client"]


@pytest.mark.parametrize("module", FRONT_ENDS)
def test_front_ends_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*(name.split('.')[0] for name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(result.stdout.split())


def test_the_engine_paints_nothing() -> None:
    code = "import sys, engine.cli, engine.duel.duel; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"textual", "rich", "tui"} & set(result.stdout.split())


def test_every_method_has_its_documentation() -> None:
    tags = {str(method.__struct_config__.tag) for method in methods.METHODS}
    documented = (ROOT / "docs/methods.md").read_text()
    assert not [tag for tag in tags if f"`{tag}`" not in documented]


def test_only_paths_reads_the_environment() -> None:
    readers = [
        str(file.relative_to(ROOT))
        for folder in ("engine", "tui")
        for file in (ROOT / folder).rglob("*.py")
        if "os.environ.get" in (text := file.read_text()) or "os.getenv" in text
    ]
    assert readers == ["engine/paths.py"]


PRINTERS = {"print", "click.echo", "click.secho", "click.style", "click.echo_via_pager", "click.prompt"}
STREAMS = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}


def _prints(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return called in PRINTERS or any(called.startswith(f"{stream}.write") for stream in STREAMS)


def test_only_one_module_prints() -> None:
    folders = (ROOT / "engine", ROOT / "tui")
    files = [file for folder in folders for file in folder.rglob("*.py") if "worker" not in file.parts]
    printing = {file for file in files if any(map(_prints, ast.walk(ast.parse(file.read_text()))))}
    assert printing == {ROOT / "engine/cli/terminal.py"}


def _folders(below: str) -> set[Path]:
    return {file.parent.relative_to(ROOT) for file in (ROOT / below).rglob("*.py")}


def test_a_folder_can_be_looked_over() -> None:
    counted = {
        folder: len(list((ROOT / folder).glob("[!_]*.py"))) for folder in _folders("engine") | _folders("tui")
    }
    assert {folder: n for folder, n in counted.items() if n > 20} == {}


def test_tests_mirror_the_tree() -> None:
    known = _folders("engine") | _folders("tui")
    mirrors = {
        "tests/unit/engine": "engine",
        "tests/unit/tui": "tui",
        "tests/engine": "engine",
        "tests/tui": "tui",
    }
    for tests, source in (mirrors | {"tests/worker": "engine/worker"}).items():
        mirrored = {source / folder.relative_to(tests) for folder in _folders(tests)}
        assert mirrored <= known, tests
