"""The profiles of a long run."""

import pytest

from engine.errors import InputError
from engine.jobs.profiles import distinct
from tests.unit.engine.bench.samples import TINY


def test_a_profile_named_twice_gets_two_names() -> None:
    names = [found.name for found in distinct([TINY, TINY, TINY])]
    assert len(set(names)) == 3 and names[1] == f"{names[0]} #2"
    with pytest.raises(InputError, match="no profile named"):
        distinct([])
