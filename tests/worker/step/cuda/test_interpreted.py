"""The GPU's kernels on a CPU, by Triton's interpreter, in a process of their own: it is chosen at import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


def test_interpreted() -> None:
    interpreted(["kernels", "many_rows", "whole_step"])


@pytest.mark.thorough
def test_every_family_interpreted() -> None:
    interpreted(["whole_step"], "-m", "thorough")


def interpreted(modules: list[str], *options: str) -> None:
    """Run the tests of these modules, with options of pytest."""
    files = [str(Path(__file__).with_name(f"{name}.py")) for name in modules]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *files]
    env = os.environ | {"TRITON_INTERPRET": "1"}
    ended = subprocess.run(command, check=False, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-5000:]
