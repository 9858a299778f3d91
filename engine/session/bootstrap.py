"""A worker in a Python that is not QuantDuel's own: `python bootstrap.py`, run as a file and never imported.

That Python gets `engine` and `profiles` from here, and everything else from its own packages: no folder of
QuantDuel's is on its path, where other packages lie next to them.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("QuantDuel's workers need Python 3.11 or newer, and this is " + sys.version.split()[0])

import runpy
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve()
PACKAGES = ("engine", "profiles")


class _Here(MetaPathFinder):
    """Finds QuantDuel's packages where this file lies."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, [str(HERE.parents[2])]) if fullname in PACKAGES else None


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE.parent]
    sys.meta_path.insert(0, _Here())
    runpy.run_module("engine.worker", run_name="__main__", alter_sys=True)
