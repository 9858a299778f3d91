"""What a machine with a GPU and no network is given: all that QuantDuel needs, and nothing is forgotten."""

import re
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu import speed

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "prepare.sh"
MADE_THERE = {"quantduel", "bitsandbytes"}  # by prepare.sh, each in its own way
UNUSED = {"maturin", "tzdata"}  # builds gptqmodel; the zones of systems that have none
HAS_ITS_OWN = "torch"  # which is there: CUDA's libraries came with it
TESTED_WITH = ("pytest-asyncio", "pytest-timeout")
PLACE = {"python_version": "3.12", "python_full_version": "3.12.3", "extra": ""}


@pytest.mark.skipif(find_spec("gptqmodel") is None, reason="its own packages are known where it is installed")
def test_every_package_is_there_or_brought_along() -> None:
    listed = {
        canonicalize_name(name)
        for names in re.findall(r"^(?:there|ready|source)=\(([^)]+)\)", SCRIPT.read_text(), re.MULTILINE)
        for name in names.split()
    }
    needed = closure({"quantduel": {"local", "gptq"}, **{name: set() for name in TESTED_WITH}})
    assert needed - listed <= MADE_THERE | UNUSED


def closure(asked: dict[str, set[str]]) -> set[str]:
    """The packages that these need, with their extras, and so on."""
    found: dict[str, set[str]] = {}
    waiting = list(asked.items())
    while waiting:
        name, extras = waiting.pop()
        if name in found and extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | extras
        if name == HAS_ITS_OWN:
            continue
        for needed in map(Requirement, metadata.requires(name) or ()):
            markers = [PLACE | {"extra": extra} for extra in ("", *extras)]
            if needed.marker is None or any(map(needed.marker.evaluate, markers)):
                waiting.append((canonicalize_name(needed.name), needed.extras))
    return set(found)


def test_answers_that_part_may_end_at_different_lengths() -> None:
    assert speed.alike([1, 2, 3], [1, 2, 3]) == "3 of 3"
    assert speed.alike([1, 2, 9, 9], [1, 2]) == "2 of 4"
    assert speed.alike([1, 5], [1, 2, 3]) == "1 of 3"


def test_a_run_that_ends_early_says_what_it_found() -> None:
    said = speed.summary(
        {"kernel": "Linear", "step": "compiled", "at 128": {"tok_s": 9, "share": 0.5, "mode": "graph"}}
    )
    assert "9 tok/s (0.5, graph)" in said
