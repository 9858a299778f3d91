"""What all tests share: a home of their own, profiles written on the fly, and waiting without sleeping."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine.config import profiles
from engine.config.profile import Profile
from engine.protocol.loading import Loaded
from engine.session.client import Session

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in a worker
os.environ["HF_HUB_OFFLINE"] = "1"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what is to run behind it
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs that tests start can be interrupted
WITH_GPU = os.environ.get("QUANTDUEL_TEST_GPU") == "1"
REHEARSED = os.environ.get("KIT_DEVICE") == "cpu"  # the tests for a GPU, as far as a CPU can run them
if not WITH_GPU or REHEARSED:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # `device: auto` is the CPU, in this process and in workers

gc.disable()  # until all tests are imported: looking through what stays takes a fifth of the time

TEST_HOME = Path(os.environ.get("QUANTDUEL_TEST_HOME", Path.home() / ".cache" / "quantduel-test"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests mean the CPU, but for those marked `gpu`, which alone are run with QUANTDUEL_TEST_GPU=1."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if WITH_GPU:
        config.hook.pytest_deselected(items=[item for item in items if item not in marked])
        items[:] = marked
    if why := _no_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=why))


def pytest_collection_finish() -> None:
    """What was collected stays."""
    gc.freeze()
    gc.enable()


def _no_gpu() -> str:
    if not WITH_GPU:
        return "needs a CUDA GPU, and QUANTDUEL_TEST_GPU=1"
    if REHEARSED:
        return ""
    import torch

    return "" if torch.cuda.is_available() else "torch finds no CUDA GPU here"


@pytest.fixture(scope="session", autouse=True)
def home() -> Iterator[Path]:
    """QuantDuel's folders for the whole run; kept between runs so that the demo model is fetched once."""
    before = os.environ.get("QUANTDUEL_HOME")
    os.environ["QUANTDUEL_HOME"] = str(TEST_HOME)
    yield TEST_HOME
    if before is None:
        del os.environ["QUANTDUEL_HOME"]
    else:
        os.environ["QUANTDUEL_HOME"] = before


@pytest.fixture(scope="module", autouse=True)
def collected() -> None:
    """What was imported is not looked at again by every collection of garbage: gptqmodel asks for dozens."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def lend_compiled(home: Path) -> Callable[[Path], None]:
    """Gives a home of a test's own what was compiled in this one: to compile it takes ten seconds."""

    def lend(own: Path) -> None:
        (own / "cache").mkdir(parents=True)
        compiled = home / "cache" / "numba"
        compiled.mkdir(parents=True, exist_ok=True)
        (own / "cache" / "numba").symlink_to(compiled)

    return lend


@pytest.fixture
def make_profile(tmp_path: Path) -> Callable[..., Profile]:
    """Writes a profile file and reads it: `make_profile("a", "model: {source: random:tiny}")`."""

    def make(name: str = "tiny", text: str = "model: {source: 'random:tiny'}") -> Profile:
        file = tmp_path / f"{name}.yaml"
        file.write_text(text)
        return profiles.read(file)

    return make


@pytest.fixture(scope="session")
async def load() -> AsyncIterator[Callable[[Profile], Awaitable[Session]]]:
    """Loads a profile in a real worker; an equal profile gets the same worker again, while it lives."""
    sessions: dict[bytes, Session] = {}

    async def start(wanted: Profile) -> Session:
        key = msgspec.json.encode(wanted)
        if key not in sessions or not sessions[key].ready:
            sessions[key] = Session(wanted)
            events = [event async for event in sessions[key].load()]
            assert isinstance(events[-1], Loaded), events[-1]
        return sessions[key]

    yield start
    await asyncio.gather(*(session.close() for session in sessions.values()))


@pytest.fixture
def wait_until() -> Callable[..., Awaitable[None]]:
    """Waits for a condition; fails after `timeout_s`."""

    async def wait(condition: Callable[[], bool], timeout_s: float = 30) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.02)

    return wait
