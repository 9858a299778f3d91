"""What a machine with a GPU and no network is given: all that QuantDuel needs, and nothing is forgotten."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu import check, settings, speed

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


def test_a_step_that_nobody_knows_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["env", "speed nf5"]) == 2
    assert "'speed nf5'" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["abc", "", "-5", "nan", "inf"])
def test_seconds_that_are_none_are_refused_in_a_line(said: str) -> None:
    with pytest.raises(SystemExit, match=f"^KIT_SECONDS={said}: "):
        settings.seconds("KIT_SECONDS", said)


@pytest.mark.parametrize("said", ["cuda:1", "mps", ""])
def test_a_device_that_not_every_step_can_use_is_refused(said: str) -> None:
    with pytest.raises(SystemExit, match=f"^KIT_DEVICE={said}: "):
        settings.device(said)


@pytest.mark.parametrize("tell", [check.doctor, check.duel, check.returns])
@pytest.mark.parametrize("said", ["a library's line", "[]", "{}"])
def test_output_that_is_not_understood_stops_nothing(tell: Callable[[str], str], said: str) -> None:
    told = check.told_of(check.Step("said", (), 9, tell), said)
    assert told.startswith("not understood") and told.endswith(said)


def test_a_run_that_is_ended_ends_what_it_started(tmp_path: Path) -> None:
    steps = """if True:
        import pathlib, sys
        from benchmarks.gpu import check
        wait = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
        check.STEPS = (check.Step("waits", ("-c", wait, sys.argv[1]), 600, check.last),)
        sys.exit(check.main(["waits"]))"""
    started = tmp_path / "started"
    environ = os.environ | {"OUT": str(tmp_path), "KIT_DEVICE": "cpu"}
    run = subprocess.Popen([sys.executable, "-c", steps, str(started)], env=environ)
    while not (started.exists() and started.read_text()) and run.poll() is None:
        time.sleep(0.02)
    step = psutil.Process(int(started.read_text()))
    run.terminate()
    assert run.wait(timeout=60) == 143
    step.wait(timeout=60)
