"""The GPU's kernels on a CPU, by Triton's interpreter, in a process of their own: it is chosen at import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


def test_interpreted() -> None:
    files = [str(Path(__file__).with_name(f"{name}.py")) for name in ("kernels", "whole_step")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *files]
    env = os.environ | {"TRITON_INTERPRET": "1"}
    ended = subprocess.run(command, check=False, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-5000:]
