"""Workers in another Python: QuantDuel's code, and everything else from its own packages."""

import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine import paths
from engine.config.profile import Profile
from engine.protocol import Failed, Loaded, Started
from engine.session.client import Session


async def test_an_environments_python_runs_the_model_with_quantduels_code(
    make_profile: Callable[..., Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "environments", lambda: tmp_path / "environments")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    paths.environments().mkdir(parents=True)
    (paths.environments() / "same").symlink_to(sys.prefix)  # the libraries of this one
    session = Session(
        make_profile("there", "model: {source: 'random:tiny'}\nworker: {environment: same}"),
        native_step=False,
    )
    loading = session.load()
    assert isinstance(await anext(loading), Started)
    started = psutil.Process(session.pid).cmdline()[0]
    events = [event async for event in loading]
    assert isinstance(events[-1], Loaded), events[-1]
    assert started == str(paths.environments() / "same" / "bin" / "python")
    await session.close()


async def test_an_environment_that_is_not_there_is_named_with_what_makes_it(
    make_profile: Callable[..., Profile],
) -> None:
    session = Session(make_profile("gone", "model: {source: demo}\nworker: {environment: nowhere}"))
    (failed,) = [event async for event in session.load()]
    assert isinstance(failed, Failed) and failed.message == "there is no environment named nowhere here"
    assert failed.hint == "quantduel env create nowhere makes it"
