"""Replaces a function of another package, of a module or a class, for a while. Callers say which, and why."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def replaced(owner: ModuleType | type, name: str, stand_in: object) -> Iterator[None]:
    """Within it the owner has the stand-in under this name; AttributeError where it has no such name."""
    original = getattr(owner, name)
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        setattr(owner, name, original)
