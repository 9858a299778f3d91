"""Cases that show what others show as well: `make thorough` runs them, and `make test` leaves them out."""

from collections.abc import Iterable

import pytest
from _pytest.mark import ParameterSet


def thorough(cases: Iterable[object]) -> list[ParameterSet]:
    """Parameters of a test that `make test` leaves out."""
    return [pytest.param(case, marks=pytest.mark.thorough) for case in sorted(cases, key=str)]
