"""Far ends that misbehave: small programs behind a launch command. Whatever they do is one clear failure."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.config.profile import Profile
from engine.errors import LoadError
from engine.protocol import wire
from engine.protocol.failure import Failed
from engine.protocol.far_end import Hello
from engine.protocol.loading import Staged
from engine.protocol.wire import WIRE_VERSION, Event
from engine.session import far_questions, launched
from engine.session.client import Session
from engine.session.progress import UNHEARD, stage_text

HELLO = wire.encode(
    Hello(wire=WIRE_VERSION, version="1.0", host="gpu2", machine="other", patience_s=1.0, ns=1)
).decode()
PRELUDE = """
import os, sys, time
def say(*lines):
    for line in lines:
        sys.stdout.buffer.write(line.encode() + b"\\n")
    sys.stdout.buffer.flush()
def live():
    while True:
        time.sleep(60)
"""
OLD = HELLO.replace(f'"wire":{WIRE_VERSION}', '"wire":0,"more":[1]')
NEW = HELLO.replace(f'"wire":{WIRE_VERSION}', '"wire":99').replace('"patience_s":1.0', '"calm":1')


@pytest.fixture
def far(make_profile: Callable[..., Profile], tmp_path: Path) -> Callable[[str], Session]:
    """A session whose far end is this program."""

    def start(program: str) -> Session:
        (tmp_path / "end.py").write_text(PRELUDE + program)
        launch = f"{sys.executable} {tmp_path}/end.py"
        return Session(make_profile("far", f"model: {{source: demo}}\nworker: {{launch: {launch}}}\n"))

    return start


async def failure_of(session: Session) -> Failed:
    async with asyncio.timeout(30):
        events: list[Event] = [event async for event in session.load()]
        await session.close()
    assert isinstance(events[-1], Failed)
    assert "\n" not in events[-1].message
    return events[-1]


@pytest.mark.parametrize(
    ("program", "says", "kind"),
    [
        (f"say({OLD!r}); live()", "speaks version 0 (QuantDuel 1.0) of the wire", "not_loaded"),
        (f"say({OLD!r}); live()", "update QuantDuel on gpu2", "not_loaded"),
        (f"say({NEW!r}); live()", "update QuantDuel here", "not_loaded"),
        ("say('Welcome to gpu2!'); live()", "printed “Welcome to gpu2!” where", "not_loaded"),
        ("say('{}'); live()", "printed “{}” where `quantduel worker` speaks", "not_loaded"),
        ("say(sys.stdin.readline()); live()", 'printed “{"command":"load"', "not_loaded"),
        ('say(\'{"event":"hello"}\'); live()', "update QuantDuel on the far machine", "not_loaded"),
        ("sys.exit('no route to gpu2')", "ended with exit code 1: no route to gpu2", "not_loaded"),
        (
            "sys.exit('no such option\\n  its hint\\n')",
            "ended with exit code 1: no such option",
            "not_loaded",
        ),
        (f"say({HELLO!r}); live()", "the line to gpu2 is cut: it said nothing for 1 s", "worker_lost"),
        (f"say({HELLO!r}, {HELLO!r}); live()", "the worker on gpu2 greeted twice", "worker_lost"),
        (
            f'say({HELLO!r}, \'{{"event":"sent","size_bytes":4,"of_bytes":4,"ns":1}}\', \'1234\'); live()',
            "the worker on gpu2 sent logits that nobody asked for",
            "worker_lost",
        ),
        (
            f'say({HELLO!r}, \'{{"event":"sent","size_bytes":99999999,"of_bytes":4,"ns":1}}\'); live()',
            "the worker on gpu2 sent something that cannot be read",
            "worker_lost",
        ),
        (
            f"say({HELLO!r}, 'x'); live()",
            "the worker on gpu2 sent something that cannot be read",
            "worker_lost",
        ),
        (f"say({HELLO!r}); sys.exit(3)", "the worker on gpu2 ended with exit code 3", "worker_lost"),
    ],
)
async def test_what_a_far_end_does_wrong_is_one_line(
    far: Callable[[str], Session], program: str, says: str, kind: str
) -> None:
    failed = await failure_of(far(program))
    assert says in failed.message and failed.kind == kind, failed


async def test_a_program_that_is_not_here_is_named(make_profile: Callable[..., Profile]) -> None:
    profile = make_profile(
        "far", "model: {source: demo}\nworker: {launch: no-such-ssh gpu2 quantduel worker}\n"
    )
    failed = await failure_of(Session(profile))
    assert failed.message == "worker.launch: there is no program no-such-ssh here"


async def test_a_command_that_never_greets_is_waited_for_and_says_so(
    far: Callable[[str], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launched, "QUIET_S", 0.1)
    session = far("live()")
    async with asyncio.timeout(30), aclosing(session.load()) as events:
        said = await anext(events)
        assert isinstance(said, Staged) and UNHEARD in stage_text(said) and sys.executable[:9] in said.subject
        session.cancel()
        failed = [event async for event in events][-1]
    assert isinstance(failed, Failed) and failed.kind == "cancelled"
    await session.close()


async def test_a_question_to_one_that_never_greets_ends(
    far: Callable[[str], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(far_questions, "QUIET_S", 0.1)
    with pytest.raises(LoadError, match="has said nothing for 0 s") as raised:
        await far_questions.diagnosed(far("live()").profile.worker)
    assert "queue" in raised.value.hint
