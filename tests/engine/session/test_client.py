"""Sessions with the real worker process on a small random model."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from engine.config import profiles
from engine.config.profile import Generation, Profile
from engine.protocol.answers import Decoded, Finished, Message, Rendered
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Staged, Started
from engine.protocol.runs import BenchRun, Measured
from engine.protocol.wire import Event
from engine.session.client import Session

Loader = Callable[[Profile], Awaitable[Session]]
HELLO = (Message("user", "Hello"),)
STORY = (Message("user", "Write a very long story about the sea."),)  # the demo model finds no end


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


async def test_load_reports_its_stages_and_ends_with_what_it_loaded(
    make_profile: Callable[..., Profile],
) -> None:
    """Its reader leaves at its end: that cancels nothing later."""
    session, events = Session(make_profile()), list[Event]()
    load = session.load()
    while not events or not isinstance(events[-1], Loaded):
        events.append(await anext(load))
    assert isinstance(events[0], Started) and events[0].pid == session.pid
    assert any(isinstance(event, Staged) for event in events)
    assert isinstance(events[-1], Loaded) and session.ready
    assert session.info == events[-1].info
    measuring = asyncio.create_task(session.measure(BenchRun(context=200, steps=20)))
    await asyncio.sleep(0)  # it is asked now
    await load.aclose()  # as the garbage collector does, some time
    assert isinstance(await measuring, Measured)
    await session.close()
    assert not psutil.pid_exists(events[0].pid)


async def test_an_answer_is_repeatable(load: Loader, make_profile: Callable[..., Profile]) -> None:
    session = await load(make_profile())
    settings = Generation(max_new_tokens=20, temperature=1.0, seed=7)
    first, second = [await collect(session.generate(HELLO, settings)) for _ in range(2)]
    ids = [[e.token_id for e in events if isinstance(e, Decoded)] for events in (first, second)]
    assert ids[0] == ids[1] and len(ids[0]) > 1
    assert isinstance(first[-1], Finished)


async def test_rendering_shows_the_prompt(load: Loader, make_profile: Callable[..., Profile]) -> None:
    session = await load(make_profile())
    rendered = await session.render(HELLO)
    assert isinstance(rendered, Rendered)
    assert "Hello" in rendered.text and rendered.token_ids


async def test_cancel_ends_an_answer_and_leaves_the_session_usable(
    load: Loader, make_profile: Callable[..., Profile]
) -> None:
    session = await load(make_profile())
    events: list[Event] = []
    async for event in session.generate(HELLO, Generation(max_new_tokens=2000)):
        events.append(event)
        if sum(isinstance(e, Decoded) for e in events) == 3:
            session.cancel()
    assert isinstance(events[-1], Finished) and events[-1].reason in {"cancelled", "stop"}
    assert sum(isinstance(e, Decoded) for e in events) < 1000
    again = await collect(session.generate(HELLO, Generation(max_new_tokens=2)))
    assert isinstance(again[-1], Finished)


async def test_a_reader_that_leaves_early_does_not_disturb_the_next_answer(
    load: Loader, make_profile: Callable[..., Profile]
) -> None:
    session = await load(make_profile())
    stream = session.generate(HELLO, Generation(max_new_tokens=2000, temperature=1.0))
    async for event in stream:
        if isinstance(event, Decoded):
            break
    await stream.aclose()
    again = await collect(session.generate(HELLO, Generation(max_new_tokens=2, temperature=1.0)))
    assert isinstance(again[-1], Finished)
    assert sum(isinstance(e, Decoded) for e in again) <= 2


@pytest.fixture
async def packed() -> AsyncIterator[Session]:
    """A worker of llama.cpp, for a test that ends it: it needs no torch, so no long start."""
    session = Session(profiles.find("smollm2-q4-llama-cpp"))
    assert isinstance((await collect(session.load()))[-1], Loaded)
    yield session
    await session.close()


async def test_a_killed_worker_is_an_event(packed: Session) -> None:
    session = packed
    assert session.pid
    events: list[Event] = []
    async for event in session.generate(STORY, Generation(max_new_tokens=2000)):
        events.append(event)
        if isinstance(event, Decoded) and psutil.pid_exists(session.pid):
            os.kill(session.pid, signal.SIGKILL)
    failed = events[-1]
    assert isinstance(failed, Failed) and failed.kind == "worker_lost" and "SIGKILL" in failed.message
    assert not session.ready
    assert await collect(session.generate(HELLO, Generation())) == [failed]


async def test_a_deaf_worker_is_ended_by_a_second_cancel(packed: Session) -> None:
    session = packed
    assert session.pid
    events: list[Event] = []
    async for event in session.generate(STORY, Generation(max_new_tokens=2000)):
        events.append(event)
        if isinstance(event, Decoded) and not session.stopping:
            os.kill(session.pid, signal.SIGSTOP)  # it hears nothing any more
            session.cancel()
            assert session.stopping and psutil.pid_exists(session.pid)
            session.cancel()
    failed = events[-1]
    assert isinstance(failed, Failed) and failed.kind == "unresponsive"
    assert not session.stopping and not session.ready


async def test_a_worker_is_not_in_the_users_folder(
    make_profile: Callable[..., Profile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUANTDUEL_HOME", "home")  # relative to where the user is
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(("", *sys.path)))
    session = Session(make_profile())
    events = session.load()
    assert isinstance(await anext(events), Started)
    worker = psutil.Process(session.pid)
    assert worker.cwd() == Path(sys.executable).anchor
    assert worker.environ()["QUANTDUEL_HOME"] == str(tmp_path / "home")
    assert "" not in worker.environ()["PYTHONPATH"].split(os.pathsep)
    session.cancel()
    await session.close()


async def test_cancelling_a_load_ends_its_process(make_profile: Callable[..., Profile]) -> None:
    session = Session(make_profile())
    events: list[Event] = []
    async for event in session.load():
        events.append(event)
        session.cancel()
    assert isinstance(events[-1], Failed) and events[-1].kind == "cancelled"
    await session.close()


async def test_a_model_that_is_not_there_is_one_clear_failure(make_profile: Callable[..., Profile]) -> None:
    session = Session(make_profile("gone", "model: {source: ./no-such-folder}"))
    events = await collect(session.load())
    failed = events[-1]
    assert isinstance(failed, Failed) and failed.kind == "not_loaded"
    assert "no-such-folder" in failed.message and "\n" not in failed.message
    await asyncio.wait_for(session.close(), 10)
