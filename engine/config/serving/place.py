"""Where a program that serves is: the Python that has it, looked for on this machine. Starts nothing."""

import os
from pathlib import Path

from engine import paths
from engine.config import environments
from engine.config.serving.serve import Serve
from engine.errors import LoadError


def python(serve: Serve) -> Path:
    """The Python that runs the program; LoadError where it is not there."""
    if serve.environment is not None:
        if absent := environments.missing(serve.environment):
            raise absent
        return environments.environment(serve.environment).python
    found = paths.expanded(serve.python or "")
    if not paths.answers(Path.is_file, found) or not os.access(found, os.X_OK):
        raise LoadError(f"serve.python: {found} cannot be run", "expected the path of a Python")
    return found
