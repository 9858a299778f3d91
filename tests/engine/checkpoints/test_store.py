"""Several processes at one store: a killed one leaves it clean, and two that want the same make it once."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.checkpoints import store
from engine.config.profile import Profile
from engine.protocol.loading import Staged
from tests.worker.quantizing import Quantizing

pytest.importorskip("gptqmodel")

KILLS = 4
GPTQ = """
model: {source: 'random:tiny', device: cpu}
quantization: {method: gptq, group_size: 64, calibration: {samples: 4, length: 64}}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of this test's own."""
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.thorough
def test_killed_at_random_moments_the_store_lists_clean_and_the_next_run_succeeds(
    home: Path, make_profile: Callable[..., Profile]
) -> None:
    profile = make_profile("gptq", GPTQ)
    whole = Quantizing(profile, home)
    whole.next()
    started_s = time.monotonic()
    assert whole.all()[-1] is False
    longest_s = time.monotonic() - started_s
    store.remove(store.entries()[0])

    moments = random.Random(0)
    for _ in range(KILLS):
        worker = Quantizing(profile, home)
        worker.next()
        time.sleep(moments.uniform(0, 0.9 * longest_s))
        worker.process.kill()
        worker.process.join()
        listed = store.entries()
        assert [path.name for path in store.folder().iterdir() if path.is_dir()] == [e.key for e in listed]
        for entry in listed:  # it was done before the kill
            assert (entry.path / "model.safetensors").stat().st_size > 100_000
            store.remove(entry)

    assert Quantizing(profile, home).all()[-1] is False
    assert len(store.entries()) == 1
    assert Quantizing(profile, home).all()[-1] is True


def test_two_processes_make_the_same_checkpoint_once(
    home: Path, make_profile: Callable[..., Profile]
) -> None:
    profile = make_profile("gptq", GPTQ)
    first = Quantizing(profile, home)
    while not (isinstance(reported := first.next(), Staged) and reported.stage == "quantize"):
        pass
    second = Quantizing(profile, home)
    heard = second.all()
    assert first.all()[-1] is False and heard[-1] is True
    waiting = [reported for reported in heard if isinstance(reported, Staged) and reported.elsewhere]
    assert any(reported.total == 2 and reported.unit == "layers" for reported in waiting)
    assert len(store.entries()) == 1
