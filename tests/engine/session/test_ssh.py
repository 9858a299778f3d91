"""Workers behind a real ssh: an sshd of the test's own on loopback. Skipped where there is none."""

import asyncio
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from engine.config.profile import Generation, Profile
from engine.duel.duel import Duel
from engine.duel.lens import Lens
from engine.duel.looking import look
from engine.evaluation.run import Evaluation
from engine.evaluation.settings import Settings
from engine.machine import identity
from engine.protocol.answers import Decoded, Finished, Message
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Staged, Started
from engine.protocol.wire import Event
from engine.session.client import Session

ROOT = Path(__file__).parents[3]
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
HELLO = (Message("user", "Hello"),)
SHORT = Generation(max_new_tokens=8, temperature=1.0)
LONG = Generation(max_new_tokens=1500, temperature=1.0)
SHORTEST_PATIENCE_S = 5.0

Open = Callable[..., Awaitable[Session]]


class Ssh(NamedTuple):
    """The words before a command that it runs, and the server's process."""

    words: str
    pid: int


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ssh]:
    """An sshd on loopback."""
    if SSHD is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("there is no sshd here: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("ssh")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "sshd").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPasswordAuthentication no\n"
    )
    (folder / "ssh").write_text(
        f"Host box\nHostName 127.0.0.1\nPort {port}\nIdentityFile {folder}/user\nIdentitiesOnly yes\n"
        "BatchMode yes\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", folder / "sshd"], stderr=(folder / "log").open("wb"), start_new_session=True
    )
    while not listens(port):
        assert server.poll() is None, (folder / "log").read_text()
        time.sleep(0.02)
    yield Ssh(f"ssh -F {folder}/ssh box", server.pid)
    for child in psutil.Process(server.pid).children(recursive=True):
        child.kill()
    server.kill()
    server.wait()


def listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def words(ssh: Ssh, home: Path) -> str:
    """A launch command whose far end is this tree."""
    settings = {"PYTHONPATH": str(ROOT), "QUANTDUEL_HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}
    env = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
    return f"{ssh.words} env {env} OMP_NUM_THREADS=2 {sys.executable} -P -m tui worker"


@pytest.fixture
async def launched(words: str, make_profile: Callable[..., Profile]) -> AsyncIterator[Open]:
    """Loads random:tiny at the other end of ssh."""
    sessions: list[Session] = []

    async def start(options: str = "--patience 60") -> Session:
        text = f"model: {{source: 'random:tiny'}}\nworker: {{launch: {words} {options}}}\n"
        sessions.append(Session(make_profile("far", text), native_step=False))
        events = [event async for event in sessions[-1].load()]
        assert isinstance(events[-1], Loaded), events[-1]
        assert any(isinstance(event, Staged) for event in events)
        assert all(event.host == identity.host() for event in events if isinstance(event, Staged))
        return sessions[-1]

    yield start
    await asyncio.gather(*(session.close() for session in sessions))


Workers = Callable[[], set[int]]


@pytest.fixture
def worker_pids(ssh: Ssh) -> Workers:
    """The workers, and their far ends, that this sshd has started and that live."""

    def found() -> set[int]:
        started = psutil.Process(ssh.pid).children(recursive=True)
        return {process.pid for process in started if "worker" in " ".join(words_of(process))}

    return found


def words_of(process: psutil.Process) -> list[str]:
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return []
    return words if words and words[0] == sys.executable else []


async def gone(pids: set[int], within_s: float) -> None:
    begun_s = time.monotonic()
    while left := {pid for pid in pids if psutil.pid_exists(pid)}:
        assert time.monotonic() - begun_s < within_s, f"{left} are left after {within_s} s"
        await asyncio.sleep(0.05)


async def test_a_far_worker_streams_is_cancelled_and_takes_logits(
    launched: Open,
    worker_pids: Workers,
    load: Callable[[Profile], Awaitable[Session]],
    make_profile: Callable[..., Profile],
) -> None:
    far = await launched()
    own = worker_pids()
    assert len(own) == 2  # the far end and its worker
    assert far.info and far.info.host == far.host == identity.host()
    assert far.info.place == f"cpu on {identity.host()}"
    await streams(far)
    await is_cancelled(far)
    await lends_its_logits(far, await load(make_profile("here")))
    (worker,) = (pid for pid in own if "engine.worker" in words_of(psutil.Process(pid)))
    os.kill(worker, signal.SIGKILL)
    failed = await far.ended()
    assert failed.message.startswith(f"on {identity.host()}: the worker was killed (SIGKILL"), failed
    assert f"log on {identity.host()}: " in failed.hint
    await gone(own, SHORTEST_PATIENCE_S)


async def streams(far: Session) -> None:
    events = [event async for event in far.generate(HELLO, SHORT)]
    assert isinstance(events[-1], Finished) and sum(isinstance(e, Decoded) for e in events) > 1
    assert events[-1].round_trip_ns


async def is_cancelled(far: Session) -> None:
    events: list[Event] = []
    async for event in far.generate(HELLO, LONG):
        events.append(event)
        if sum(isinstance(e, Decoded) for e in events) == 3:
            far.cancel()
    assert isinstance(events[-1], Finished) and events[-1].reason in {"cancelled", "stop"}
    assert sum(isinstance(e, Decoded) for e in events) < 1000


async def lends_its_logits(far: Session, here: Session) -> None:
    """What a lens says is the same wherever the sides are."""
    klds = []
    for sides in ([here, far], [far, here], [here, here]):
        duel = Duel(sides)
        async for _ in duel.ask("Hello", Generation(max_new_tokens=6)):
            pass
        found = await look(duel)
        assert isinstance(found, Lens), found
        klds.append([token.kld for token in found.readings[0].tokens])
    assert klds[0] and max(map(max, klds)) < 1e-6


async def test_a_line_that_is_cut_without_a_word_keeps_the_text_and_leaves_no_process(
    launched: Open, worker_pids: Workers
) -> None:
    session = await launched(options="--patience 3")
    own = worker_pids()
    duel = Duel([session])
    async for _, event in duel.ask("Hello", LONG):
        if isinstance(event, Decoded) and len(duel.answers[0].token_ids) == 3 and session.pid:
            os.kill(session.pid, signal.SIGSTOP)  # nothing passes any more, and nobody says so
    failed = duel.answers[0].failure
    assert failed and failed.kind == "worker_lost"
    assert f"the line to {identity.host()} is cut: it said nothing for 3 s" in failed.message, failed
    assert len(duel.answers[0].token_ids) >= 3 and not session.ready
    await gone(own, SHORTEST_PATIENCE_S)
    await session.close()
    assert session.pid and not psutil.pid_exists(session.pid)


async def test_an_ssh_that_is_killed_leaves_no_process(
    words: str, worker_pids: Workers, make_profile: Callable[..., Profile]
) -> None:
    text = f"model: {{source: 'random:tiny'}}\nworker: {{launch: {words} --patience 60}}\n"
    session = Session(make_profile("far", text))
    own: set[int] = set()
    last: Event | None = None
    async for last in session.load():
        if isinstance(last, Started) and session.pid:
            own = worker_pids()
            os.kill(session.pid, signal.SIGKILL)
    assert isinstance(last, Failed) and last.kind == "worker_lost" and len(own) == 2
    assert f"the worker on {identity.host()} ended with exit code -9" in last.message
    await gone(own, SHORTEST_PATIENCE_S)
    await session.close()


APP = """
import asyncio, sys
from engine.config import profiles
from engine.session.client import Session
async def main():
    session = Session(profiles.find(sys.argv[1]))
    async for event in session.load():
        print(type(event).__name__, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("is_cut", [False, True])
async def test_an_app_that_is_killed_leaves_nothing_behind(
    words: str, worker_pids: Workers, make_profile: Callable[..., Profile], tmp_path: Path, is_cut: bool
) -> None:
    patience = 3 if is_cut else 60
    make_profile(
        "far", f"model: {{source: 'random:tiny'}}\nworker: {{launch: {words} --patience {patience}}}\n"
    )
    app = await asyncio.create_subprocess_exec(
        sys.executable, "-c", APP, str(tmp_path / "far.yaml"), stdout=subprocess.PIPE, cwd=ROOT
    )
    assert app.stdout
    assert await app.stdout.readline() == b"Started\n"
    children = {child.pid for child in psutil.Process(app.pid).children(recursive=True)}
    own = worker_pids()
    for child in children if is_cut else ():
        os.kill(child, signal.SIGSTOP)  # an ssh that waits for its network
    app.kill()
    await app.wait()
    assert len(own) == 2 and children
    await gone(own | children, SHORTEST_PATIENCE_S)


async def test_files_are_looked_for_there_and_the_machine_is_named(
    words: str, make_profile: Callable[..., Profile]
) -> None:
    text = f"model: {{source: demo}}\nprompt: {{template: /no/such.jinja}}\nworker: {{launch: {words}}}\n"
    session = Session(make_profile("gone", text))
    (failed,) = [event async for event in session.load()]
    assert isinstance(failed, Failed) and failed.message.startswith(f"on {identity.host()}: "), failed
    assert "prompt.template" in failed.message and "/no/such.jinja" in failed.message
    await session.close()


async def test_a_command_that_fails_is_told_in_its_own_words(
    ssh: Ssh, make_profile: Callable[..., Profile]
) -> None:
    session = Session(
        make_profile("none", f"model: {{source: demo}}\nworker: {{launch: {ssh.words} no-such-command}}\n")
    )
    (failed,) = [event async for event in session.load()]
    assert isinstance(failed, Failed) and failed.kind == "not_loaded"
    assert "ended with exit code 127" in failed.message and "no-such-command" in failed.message
    await session.close()


async def test_an_eval_between_machines_has_the_figures_of_one_at_home(
    words: str, make_profile: Callable[..., Profile], tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 40)
    profiles = (
        make_profile("here"),
        make_profile("far", f"model: {{source: 'random:tiny'}}\nworker: {{launch: {words}}}\n"),
    )
    wanted = Settings(profiles=profiles, text=str(text), window=64, tokens=128, decode_steps=0, top_k=16)
    evaluation = Evaluation(wanted)
    async for _ in evaluation.run():
        pass
    report = evaluation.report
    (row,) = report.candidates
    assert row.error is None and row.kld is not None and row.kld.max < 1e-6
    assert row.device == f"cpu on {identity.host()}"
    assert any("travel between machines" in note for note in report.notes)
    assert row.kld_is_bound and any("lower bound" in note for note in row.notes)
