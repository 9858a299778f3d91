"""What makes these tests units: neither torch nor a worker, and plans that do not ask what is installed."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

from engine.machine import packages
from engine.session.worker_process import WorkerProcess

LEFT_OUT = {
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "accelerate",
    "bitsandbytes",
    "gguf",
    "numba",
}


class NoTorch:
    """Refuses to import what the base install does not have."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None: the other finders are asked."""
        if name.partition(".")[0] in LEFT_OUT:
            raise ModuleNotFoundError(f"tests/unit does without {name}: a test that needs it lies elsewhere")
        return None


def pytest_configure(config: pytest.Config) -> None:
    """Run by themselves, these tests do without torch where it is installed too."""
    here = Path(__file__).parent
    if all(Path(argument.partition("::")[0]).resolve().is_relative_to(here) for argument in config.args):
        sys.meta_path.insert(0, NoTorch())


@pytest.fixture(autouse=True)
def everything_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan is the same with torch and without."""
    monkeypatch.setattr(packages, "find_spec", lambda name: ModuleSpec(name, None))


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that starts a worker fails."""

    async def started(*_: object) -> NoReturn:
        pytest.fail("a unit test has started a worker: it lies elsewhere")

    monkeypatch.setattr(WorkerProcess, "started", started)
