"""The GPU's kernels on a CPU, by Triton's interpreter, in a process of their own: it is chosen at import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


@pytest.mark.parametrize("name", ["kernels", "whole_step"])
def test_interpreted(name: str) -> None:
    file = Path(__file__).with_name(f"{name}.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", str(file)]
    env = os.environ | {"TRITON_INTERPRET": "1"}
    ended = subprocess.run(command, check=False, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-5000:]
