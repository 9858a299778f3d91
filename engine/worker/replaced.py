"""Replaces a function of another package for a while. Callers document which, and why."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def replaced(module: ModuleType, name: str, stand_in: object) -> Iterator[None]:
    """Within it the module has the stand-in under this name; AttributeError where it has no such name."""
    original = getattr(module, name)
    setattr(module, name, stand_in)
    try:
        yield
    finally:
        setattr(module, name, original)
