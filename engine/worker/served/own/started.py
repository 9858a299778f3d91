"""A server that this worker starts for its side: a program of its own, in a Python of its own.

Owns its process (through `guard`), its log and when it is ready. Key and port are known here and to the
program alone; how programs are told is in `engine/config/serving/`.
"""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx2

from engine import paths
from engine.config.profile import Profile
from engine.config.serving import place
from engine.config.serving.program import Program, Wanted
from engine.config.serving.programs import program
from engine.config.serving.serve import Serve
from engine.config.sources import Demo, Engine, Folder, Hub
from engine.errors import LoadError, QuantDuelError
from engine.machine import hardware
from engine.plan import weights as holding
from engine.protocol.loading import Staged
from engine.protocol.model import Memory, ModelInfo
from engine.protocol.wire import Event
from engine.sanitize import visible
from engine.shape import find
from engine.shape.model_shape import ModelShape
from engine.worker import environment
from engine.worker.served.connection import Connection
from engine.worker.served.own.guard import MOST_SIGNALS, SIGNALLED

GUARD = Path(__file__).with_name("guard.py")
GRACE_S = 10.0  # from the request to end, to the kill
POLL_S = 0.25
TAIL_LINES = 400
SHOWN_LINES = 3
LONGEST_LINE, MOST_BYTES = 300, 1 << 14
BURIAL_S = 25.0
LOST_EXIT_CODE = 1
_ERROR = re.compile(r"(?:[\w.]+(?:Error|Exception)|[\w. ]*error): ")


@dataclass(slots=True)
class StartedServer:
    """The server, up."""

    engine: Engine
    title: str
    root: str
    key: str
    device: str
    device_name: str
    label: str
    process: "_Process"
    threads: int = 0
    parameters: int = 0
    weights_bytes: int | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def started(cls, profile: Profile, folder: str | None, emit: Callable[[Event], None]) -> "StartedServer":
        """Start it and wait until it is ready; LoadError, with the end of its log, where it never is.

        `folder` is the checkpoint that was made for the profile, where its method makes one.
        """
        serve = profile.serve
        if serve is None:
            raise LoadError(f"{profile.name} starts no server")
        told, python = program(serve), place.python(serve)
        wanted = _wanted(profile, serve, folder)
        _require_readable(told, wanted.model)
        emit(Staged(stage="resolve", subject=profile.model.source))
        process = _Process(told, _command(python, told, wanted), _environment(python, told, wanted), emit)
        try:
            process.wait_until_ready(f"http://127.0.0.1:{wanted.port}", wanted.key)
        except BaseException:
            process.end()
            raise
        shape = _shape(profile, wanted.model)
        device = _device(profile, serve)
        return cls(
            engine=told.engine,
            title=told.title,
            root=f"http://127.0.0.1:{wanted.port}",
            key=wanted.key,
            device=device,
            device_name=f"{told.title} on {_device_words(serve, device)}",
            label=profile.label,
            process=process,
            parameters=holding.parameters(shape) if shape else 0,
            weights_bytes=sum(tensor.stored_bytes for tensor in shape.tensors) if shape else None,
            notes=(told.memory,),
        )

    def memory(self, info: ModelInfo | None) -> Memory | None:
        """Not comparable: the program takes its cache in advance."""
        return None

    def look(self) -> None:
        """Nothing is counted."""

    def busy_notes(self) -> tuple[str, ...]:
        """Nothing is counted."""
        return ()


@dataclass(slots=True)
class _Process:
    """The program under its guard, and the log of both."""

    told: Program
    command: tuple[str, ...]
    settings: dict[str, str]
    emit: Callable[[Event], None]
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    is_ready: bool = False
    guard: "subprocess.Popen[bytes]" = field(init=False)
    reading: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        guard = (sys.executable, "-I", "-S", str(GUARD), str(GRACE_S))
        self.guard = subprocess.Popen(
            (*guard, *self.command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=paths.neutral_folder(),
            env=self.settings,
            start_new_session=True,
        )
        self.reading = threading.Thread(target=self._read, name="server's log", daemon=True)
        self.reading.start()

    def wait_until_ready(self, root: str, key: str) -> None:
        """Until its health is good, however long that takes; LoadError where it ends before."""
        with closing(Connection(root, key)) as connection:
            while self.guard.poll() is None:
                if _is_healthy(connection, self.told.health):
                    self.is_ready = True
                    threading.Thread(target=self._watch, name="server", daemon=True).start()
                    return
                time.sleep(POLL_S)
        self.reading.join(POLL_S)
        raise LoadError(f"{self.told.title} {self._end()}", self._last_lines())

    def end(self) -> None:
        """End it, and wait for that."""
        if self.guard.stdin is not None:
            self.guard.stdin.close()
        self.guard.wait(BURIAL_S)

    def _watch(self) -> None:
        """A worker without its server has nothing more to say: it ends, once what was asked has failed."""
        self.guard.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.guard.pid, signal.SIGKILL)  # what is left where somebody killed the guard
        self.reading.join(POLL_S)
        time.sleep(POLL_S)  # an answer that is under way says itself that it was cut off
        print(f"{self.told.title} {self._end()}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(LOST_EXIT_CODE)

    def _end(self) -> str:
        """`ended (exit code 1): ValueError: …`."""
        code = self.guard.returncode or 0
        number = -code if code < 0 else code - SIGNALLED  # the guard's own signal, or the server's
        how = f"signal {number}" if 0 < number <= MOST_SIGNALS else f"exit code {code}"
        errors = [line for line in self.tail if _ERROR.match(line)]  # the first is the cause of the others
        cause = next(iter(errors or ([] if self.is_ready else list(self.tail)[-1:])), "")
        return f"ended ({how})" + (f": {cause[:LONGEST_LINE]}" if cause else "")

    def _last_lines(self) -> str:
        lines = [line[:LONGEST_LINE] for line in list(self.tail)[-SHOWN_LINES:]]
        return f"its log ends: {' · '.join(lines)}" if lines else "it said nothing"

    def _read(self) -> None:
        """Its log into the worker's own, and until it is ready to whoever waits."""
        if self.guard.stdout is None:
            return
        for chunk in iter(partial(self.guard.stdout.readline, MOST_BYTES), b""):
            sys.stderr.buffer.write(chunk)
            sys.stderr.buffer.flush()
            for line in chunk.decode(errors="replace").replace("\r", "\n").split("\n"):
                self._take(visible(self.told.message(line), keep_newlines=False))

    def _take(self, said: str) -> None:
        if said and (not self.tail or said != self.tail[-1]):
            self.tail.append(said)
            if not self.is_ready:
                self.emit(Staged(stage="start", subject=said[:LONGEST_LINE]))


def _is_healthy(connection: Connection, path: str) -> bool:
    try:
        return connection.client.get(path).status_code == 200
    except httpx2.HTTPError:
        return False


def _wanted(profile: Profile, serve: Serve, folder: str | None) -> Wanted:
    is_hub = folder is None and isinstance(profile.source, Hub)
    model = folder or _model(profile)
    return Wanted(
        serve=serve,
        model=model,
        name=model if is_hub else Path(model).name,
        port=_free_port(),
        key=secrets.token_hex(16),
        dtype=profile.model.dtype,
        revision=profile.model.revision if is_hub else None,
        trust_remote_code=profile.model.trust_remote_code,
    )


def _model(profile: Profile) -> str:
    """The folder or hub id that the program is given."""
    match profile.source:
        case Hub(repo):
            return repo
        case Folder(path):
            return str(paths.expanded(path))
        case Demo():
            found = sorted(file.parent for file in (paths.cache() / "demo").glob("*/config.json"))
            if found:
                return str(found[0])
            raise LoadError("the demo is not converted here yet", "load smollm2-bf16 here once")
    raise LoadError(f"{profile.model.source} is nothing that a server could read")


def _require_readable(told: Program, model: str) -> None:
    """LoadError where a folder names a format that the program does not read: before anything is started."""
    folder = Path(model)
    if not folder.is_absolute():
        return
    try:
        packing = find.of_folder(folder, model).packing
    except QuantDuelError as error:
        raise LoadError(error.message, error.hint) from None
    if packing and (why := told.unreadable.get(packing.method)):
        raise LoadError(
            f"{folder.name} is quantized with {packing.method}, which {told.title} does not read", why
        )


def _command(python: Path, told: Program, wanted: Wanted) -> tuple[str, ...]:
    return (str(python), "-m", told.module, *told.arguments(wanted))


def _environment(python: Path, told: Program, wanted: Wanted) -> dict[str, str]:
    """The user's, as another Python is given it, and what the program is told that way."""
    quieting = environment.ENVIRONMENT.items()
    kept = {
        name: value for name, value in paths.environment(str(python)).items() if (name, value) not in quieting
    }
    own = {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}  # which Pythons before 3.11 ignore: no -P
    return kept | own | told.environment(wanted)


def _free_port() -> int:
    """One that nobody listens at now; where somebody is faster, the program says so and ends."""
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        port: int = found.getsockname()[1]
        return port


def _shape(profile: Profile, model: str) -> ModelShape | None:
    """By the headers of what is here by now; None where they are not to be found."""
    try:
        if Path(model).is_absolute():
            return find.of_folder(Path(model), model)
        return find.of(profile, ask_hub=False)
    except QuantDuelError:
        return None


def _device(profile: Profile, serve: Serve) -> str:
    """What the server computes on, as far as this machine shows."""
    if profile.model.device == "cpu" or "cuda:0" not in hardware.free_by_device():
        return "cpu"
    return f"cuda:{paths.worker_gpu() or 0}" if serve.gpus == 1 else "split"


def _device_words(serve: Serve, device: str) -> str:
    what = "process" if device == "cpu" else "GPU"
    many = f"{serve.gpus} {what}{'es' if what == 'process' else 's'}"
    where = " in a Ray cluster" if serve.ray else f" of {serve.nodes} machines" if serve.nodes > 1 else ""
    return ("a CPU" if device == "cpu" else "a GPU") if serve.gpus == 1 and not where else many + where
