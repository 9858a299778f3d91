"""Pins whose fault does not show where torch is a build without CUDA, which asks for no triton."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
TRITON_OF_TORCH = {"2.13.0": "3.7.1"}
"""By release of torch: what its CUDA build requires, `Requires-Dist: triton==…` of the wheel on PyPI."""


def test_triton_is_the_release_that_torch_takes() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.partition(";")[0].split("==") for line in lines if "==" in line)
    assert pins["triton"] == TRITON_OF_TORCH[pins["torch"]]
