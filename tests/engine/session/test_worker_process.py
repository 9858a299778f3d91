"""Workers that misbehave: small programs in a worker's place. A session's reader always gets a last event."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from engine import paths
from engine.checkpoints import store
from engine.config.profile import Generation, Profile
from engine.protocol import wire
from engine.protocol.answers import Decoded, Finished, Message, Prompted
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Staged, Started
from engine.protocol.scores import Scored
from engine.protocol.wire import Event
from engine.session import worker_log, worker_process
from engine.session.client import Session
from engine.session.worker_process import WorkerProcess

RECORDINGS = Path(__file__).parents[2] / "recordings"
LOADED = (RECORDINGS / "smollm2-bf16.load.jsonl").read_bytes().splitlines()[-1]
ANSWER = (RECORDINGS / "smollm2-bf16.cancelled.jsonl").read_bytes().splitlines()
HELLO = (Message("user", "Hello"),)
PATIENCE_S = 30.0

PRELUDE = """
import os, signal, sys, time
def say(*lines):
    for line in lines:
        sys.stdout.buffer.write(line + b"\\n")
    sys.stdout.buffer.flush()
def live():
    while True:
        time.sleep(60)
"""


@pytest.fixture(autouse=True)
def short_moments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker_process, "LAST_MOMENTS_S", 0.2)
    monkeypatch.setenv("QUANTDUEL_HOME", str(tmp_path / "home"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, make_profile: Callable[..., Profile]) -> Callable[[str], Session]:
    """A session whose worker is this program."""

    def start(program: str, name: str = "tiny", **how: int | None) -> Session:
        monkeypatch.setattr(worker_process, "COMMAND", (sys.executable, "-c", PRELUDE + program))
        return Session(msgspec.structs.replace(make_profile(), name=name), **how)

    return start


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    async with asyncio.timeout(PATIENCE_S):
        return [event async for event in events]


async def last_of_load(session: Session) -> Event:
    """The end of a load; afterwards no process is left."""
    events = await collect(session.load())
    assert session.pid is not None
    async with asyncio.timeout(PATIENCE_S):
        await session.close()
    assert not psutil.pid_exists(session.pid)
    return events[-1]


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (r"say(b'\xff\xfe'); live()", "sent something that cannot be read"),
        ("say(b'[' * 100_000); live()", "sent something that cannot be read"),
        ("say(b'garbage'); live()", "sent something that cannot be read"),
        ("say(b'{}'); live()", "sent something that cannot be read"),
        ("say(b'x' * 3_000_000); live()", "sent something that cannot be read"),
        ("sys.stdout.buffer.write(b'x' * 3_000_000); sys.stdout.buffer.flush(); live()", "cannot be read"),
        (
            'say(b\'{"event":"staged","stage":"read","done":-1,"ns":1}\'); live()',
            "sent something that cannot be read",
        ),
        ('say(b\'{"event":"staged","stage":"read","done":1e400,"ns":1}\'); live()', "cannot be read"),
        (
            'say(b\'{"event":"failed","kind":"generation","message":"%s"}\' % (b"x" * 100_000)); live()',
            "sent something that cannot be read",
        ),
        ("os.close(1); live()", "closed its output and was killed"),
        ("os.close(0); live()", "closed its input and was killed"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN); os.close(1); live()", "closed its output"),
        ("sys.stdout.write('{\"event\":'); sys.stdout.flush(); os._exit(0)", "cannot be read"),
        ("sys.exit(0)", "ended with exit code 0"),
        ("sys.exit(7)", "ended with exit code 7"),
        ("os.kill(os.getpid(), 40)", "died of signal 40"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "died of SIGSEGV"),
        ("os.fork() and os._exit(3); live()", "ended with exit code 3"),
        ("os.fork() and os._exit(3); os.setsid(); time.sleep(5)", "ended with exit code 3"),
    ],
)
async def test_a_load_always_ends(
    fake: Callable[..., Session], monkeypatch: pytest.MonkeyPatch, program: str, says: str
) -> None:
    monkeypatch.setattr(worker_process, "LONGEST_LINE_BYTES", 1 << 20)
    failed = await last_of_load(fake(program))
    assert isinstance(failed, Failed) and failed.kind == "worker_lost", failed
    assert says in failed.message and "\n" not in failed.message
    assert "log: " in failed.hint


@pytest.mark.parametrize(("limit_bytes", "kind"), [(1 << 30, "out_of_memory"), (None, "worker_lost")])
async def test_a_limit_that_leaves_no_room_for_a_thread_is_a_lack_of_memory(
    fake: Callable[..., Session], limit_bytes: int | None, kind: str
) -> None:
    program = "print('libgomp: Thread creation failed: …', file=sys.stderr); sys.exit(1)"
    failed = await last_of_load(fake(program, memory_limit_bytes=limit_bytes))
    assert isinstance(failed, Failed) and failed.kind == kind


async def test_a_library_that_aborts_for_want_of_memory_is_a_lack_of_memory(
    fake: Callable[..., Session],
) -> None:
    program = "print('memory allocation of 5 bytes failed', file=sys.stderr, flush=True); os.abort()"
    failed = await last_of_load(fake("import os; " + program))
    assert isinstance(failed, Failed) and failed.kind == "out_of_memory"


async def test_half_a_line_can_be_cancelled(fake: Callable[..., Session]) -> None:
    session = fake("sys.stdout.write('{\"event\":'); sys.stdout.flush(); live()")
    loading = asyncio.ensure_future(collect(session.load()))
    while session.pid is None:
        await asyncio.sleep(0)
    session.cancel()
    failed = (await loading)[-1]
    assert isinstance(failed, Failed) and failed.kind == "cancelled"
    await session.close()


async def test_a_load_that_is_cancelled_while_the_process_starts_ends(fake: Callable[..., Session]) -> None:
    session = fake("live()")
    loading = asyncio.ensure_future(collect(session.load()))
    await asyncio.sleep(0)
    session.cancel()
    failed = (await loading)[-1]
    assert isinstance(failed, Failed) and failed.kind == "cancelled"
    await session.close()


async def test_a_store_that_cannot_be_swept_keeps_no_end_back(
    fake: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise PermissionError("read-only")

    monkeypatch.setattr(store, "sweep", refuse)
    failed = await last_of_load(fake("sys.exit(7)"))
    assert isinstance(failed, Failed) and "exit code 7" in failed.message


async def test_a_worker_that_cannot_be_started_is_a_failure(
    fake: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = fake("live()")
    monkeypatch.setattr(worker_process, "COMMAND", ("/no/such/python",))
    failed = (await collect(session.load()))[-1]
    assert isinstance(failed, Failed) and failed.kind == "worker_lost"
    assert "cannot start a worker: No such file" in failed.message
    await session.close()
    assert await session.ended() == failed


TALKATIVE = "os.write(2, b'line\\n' * 300_000); say({loaded!r}); live()"


@pytest.mark.parametrize("name", ["tiny", "x" * 255, "ü" * 200, "org/name", "../up"])
async def test_stderr_is_read_and_kept_under_any_name(fake: Callable[..., Session], name: str) -> None:
    session = fake(TALKATIVE.format(loaded=LOADED), name)
    assert isinstance(await last_of_load(session), Loaded)
    log = session.log_path
    assert log is not None and log.parent == paths.logs()
    assert log.stat().st_size == worker_log.LIMIT_BYTES
    assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_stderr_is_read_where_it_cannot_be_kept(fake: Callable[..., Session], tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder would be")
    session = fake(TALKATIVE.format(loaded=LOADED))
    assert isinstance(await last_of_load(session), Loaded)
    assert session.log_path is None


async def test_a_log_names_no_password(fake: Callable[..., Session]) -> None:
    session = fake(
        "sys.stderr.write('asked https://me:se@cret@hub.example/x'); sys.stderr.flush(); sys.exit(1)"
    )
    await last_of_load(session)
    assert session.log_path is not None
    assert session.log_path.read_text() == "asked https://hub.example/x\n"


async def test_old_logs_are_removed(fake: Callable[..., Session], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_log, "MOST_FILES", 2)
    sessions = [fake("sys.exit(1)", f"profile-{number}") for number in range(4)]
    for session in sessions:
        await last_of_load(session)
    kept = sorted(log.name.rpartition("-")[0] for log in paths.logs().iterdir())
    assert kept == ["profile-2", "profile-3"]


CHATTERBOX = """
say({loaded!r})
sys.stdin.readline()  # Load
sys.stdin.readline()  # the request
say({loaded!r}, *{strange!r}, *{answer!r})
live()
"""


def line(event: Event) -> bytes:
    return wire.encode(event)


async def test_what_was_not_asked_for_is_dropped(fake: Callable[..., Session]) -> None:
    strange = [
        line(Decoded(request=99, token_id=1, text="of another request")),
        line(Scored(request=1, log_probs=(), first_choices=())),
        line(Staged(stage="read")),
        line(Started(pid=1)),
        line(Failed(kind="generation", message="of another request", request=99)),
    ]
    answer = [line(of_request_one(event)) for event in map(wire.decode_event, ANSWER)]
    session = fake(CHATTERBOX.format(loaded=LOADED, strange=strange, answer=answer))
    assert isinstance((await collect(session.load()))[-1], Loaded)
    events = await collect(session.generate(HELLO, Generation()))
    assert [type(event) for event in events] == [type(wire.decode_event(said)) for said in ANSWER]
    assert isinstance(events[-1], Finished)
    await session.close()


async def test_an_answer_in_a_wrong_order_still_ends(fake: Callable[..., Session]) -> None:
    backwards = [line(of_request_one(event)) for event in map(wire.decode_event, reversed(ANSWER))]
    session = fake(CHATTERBOX.format(loaded=LOADED, strange=[], answer=backwards))
    await collect(session.load())
    events = await collect(session.generate(HELLO, Generation()))
    assert [type(event) for event in events] == [Finished]
    assert session.ready
    await session.close()


def of_request_one(event: Event) -> Event:
    return msgspec.structs.replace(event, request=1) if hasattr(event, "request") else event


async def test_a_flood_waits_for_its_reader_and_the_end_is_reported(
    fake: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.session.life.MOST_WAITING", 10)
    flood = [line(Decoded(request=1, token_id=1, text="x"))]
    program = CHATTERBOX.format(loaded=LOADED, strange=[], answer=[]).replace(
        "live()", "while True: say(*{}*50)"
    )
    session = fake(program.replace("{}", repr(flood)))
    await collect(session.load())
    seen = 0
    async with asyncio.timeout(PATIENCE_S):
        async for event in session.generate(HELLO, Generation()):
            seen += isinstance(event, Decoded)
            if seen == 100:
                await session.close()
            if seen == 1000:
                break
    assert isinstance(event, Failed) and event.kind == "cancelled"


async def test_a_deaf_worker_is_ended_by_the_second_cancel(fake: Callable[..., Session]) -> None:
    prompted = line(Prompted(request=1, tokens=1, sha256="0"))
    session = fake(CHATTERBOX.format(loaded=LOADED, strange=[], answer=[prompted]))
    await collect(session.load())
    answering = collect(session.generate(HELLO, Generation()))
    reading = asyncio.ensure_future(answering)
    while not reading.done():
        session.cancel()
        await asyncio.sleep(0.01)
    failed = reading.result()[-1]
    assert isinstance(failed, Failed) and failed.kind == "unresponsive"
    await session.close()


async def test_the_first_cancel_is_polite(fake: Callable[..., Session]) -> None:
    answer = [line(of_request_one(event)) for event in map(wire.decode_event, ANSWER)]
    program = CHATTERBOX.format(loaded=LOADED, strange=[], answer=answer)
    session = fake(program.replace("# the request", "# the request\nsys.stdin.readline()"))
    await collect(session.load())
    reading = asyncio.ensure_future(collect(session.generate(HELLO, Generation())))
    while not session.stopping:
        session.cancel()
        await asyncio.sleep(0)
    assert isinstance((await reading)[-1], Finished)
    assert session.ready and not session.stopping
    await session.close()


async def test_a_killed_worker_is_reaped_by_the_event_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    process = await WorkerProcess.started("sleep", {}, ("sleep", "60"))
    monkeypatch.setattr(subprocess.Popen, "poll", lambda _: pytest.fail("asyncio would miss its end"))
    await process.buried()
    assert process.exit_code == -signal.SIGKILL
