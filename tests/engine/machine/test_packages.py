"""What the methods need is installed where the tests run."""

from engine.config.methods import METHODS
from engine.machine import packages


def test_what_every_method_needs_is_installed_here() -> None:
    names = {packages.library(method()) for method in METHODS} - {"gptqmodel"}
    assert [packages.missing(name) for name in names] == [None] * len(names)
