"""What is known of torch without it."""

from importlib.metadata import version

from engine.machine import torch_build


def test_torch_s_build_is_read_without_torch() -> None:
    is_cpu_build = version("torch").endswith("+cpu")
    assert (torch_build.built_for() == "the CPU") == is_cpu_build
