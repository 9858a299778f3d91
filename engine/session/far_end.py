"""The far end of a launched command: `quantduel worker`, a small process between the line and its worker.

It greets, answers beats while its worker is busy importing or computing, and ends the worker when its input
ends or falls silent. What a worker takes from files of its parent, logits, comes and goes over the line in
pieces. Imports no torch: whatever a worker does, this goes on.
"""

import asyncio
import dataclasses
import os
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator
from importlib.metadata import PackageNotFoundError, version
from queue import SimpleQueue
from typing import Any

import msgspec
from msgspec.structs import replace

from engine.config import environments, profiles
from engine.config.profile import Profile
from engine.errors import QuantDuelError
from engine.machine import identity, nvidia, oom_kill, packages
from engine.machine.doctor import Diagnosis, diagnose
from engine.plan.local import planned
from engine.plan.planning import Wish
from engine.plan.terms import Plan
from engine.protocol.answers import Generate, Render
from engine.protocol.bounds import LONGEST_TEXT
from engine.protocol.failure import Failed, FailureKind
from engine.protocol.far_end import (
    Answered,
    Beat,
    Diagnose,
    Foresee,
    Hello,
    Piece,
    Ping,
    Question,
    Rest,
    Sent,
)
from engine.protocol.loading import Load, Loaded, Quantize
from engine.protocol.scores import Score, Scored, kept_row_bytes
from engine.protocol.wire import (
    LONGEST_LINE_BYTES,
    WIRE_VERSION,
    FarCommand,
    FarEvent,
    decode_far_command,
    encode,
)
from engine.session import keep_alive, launch, pieces
from engine.session.last_words import last_words
from engine.session.pieces import Inbox
from engine.session.shared_file import SharedFile
from engine.session.worker_process import WorkerProcess

MOST_UNWRITTEN_BYTES = 4 << 20


class _Out:
    """What is said, written by a thread: a line that takes nothing must not hide its silence."""

    def __init__(self, fd: int) -> None:
        self.closed = asyncio.Event()
        self._fd, self._loop = fd, asyncio.get_running_loop()
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._left_bytes = 0
        self._is_low = asyncio.Event()
        threading.Thread(target=self._write, name="out", daemon=True).start()

    def write(self, content: bytes) -> None:
        """Say this, some time."""
        self._left_bytes += len(content)
        self._is_low.clear()
        self._waiting.put(content)

    async def drain(self) -> None:
        """Wait while too much has not been written yet."""
        while self._left_bytes > MOST_UNWRITTEN_BYTES:
            self._is_low.clear()
            await self._is_low.wait()

    def _write(self) -> None:
        while True:
            content = memoryview(self._waiting.get())
            size = len(content)
            try:
                while content:
                    content = content[os.write(self._fd, content) :]
            except OSError:
                self._loop.call_soon_threadsafe(self.closed.set)
                return
            self._loop.call_soon_threadsafe(self._wrote, size)

    def _wrote(self, size: int) -> None:
        self._left_bytes -= size
        self._is_low.set()


class _Heard(asyncio.StreamReader):
    """Counts what comes."""

    heard_bytes = 0

    def feed_data(self, data: Any) -> None:
        super().feed_data(data)
        self.heard_bytes += len(data)


async def serve(patience_s: float) -> None:
    """Serve one worker until the line ends or says nothing for so long. Never returns before."""
    commands, out = await _line()
    end = FarEnd(commands, out, patience_s)
    silence = asyncio.create_task(keep_alive.silence(end.heard, patience_s))
    endings = (end.listen(), end.beat(), end.worker_ended.wait(), out.closed.wait())
    work = [asyncio.create_task(ending) for ending in endings]
    done, _ = await asyncio.wait([silence, *work], return_when=asyncio.FIRST_COMPLETED)
    end.kill()
    for task in done:
        task.result()


class FarEnd:
    """The line, and the worker that is started for the first command that needs one."""

    def __init__(self, commands: _Heard, events: _Out, patience_s: float) -> None:
        self.worker_ended = asyncio.Event()
        self._commands, self._events, self._patience_s = commands, events, patience_s
        self._worker: WorkerProcess | None = None
        self._pump: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None
        self._is_resting, self._rested = False, 0
        self._is_limited = False
        self._row_bytes = 0  # logits of a position
        self._reference: tuple[SharedFile, Inbox] | None = None
        self._written: SharedFile | None = None

    def heard(self) -> int:
        """A count that grows with all that is heard, and for as long as the other side rests."""
        self._rested += self._is_resting
        return self._commands.heard_bytes + self._rested

    async def beat(self) -> None:
        """Say something every moment."""
        while True:
            await asyncio.sleep(keep_alive.beat_s(self._patience_s))
            self._say(Beat())

    async def listen(self) -> None:
        """Greet and do what is said, to the end of the line."""
        self._say(_hello(self._patience_s))
        async for command in self._said():
            self._is_resting = isinstance(command, Rest)
            match command:
                case Rest():
                    pass
                case Ping(ns=ns):
                    self._say(Beat(echo_ns=ns))
                case Piece():
                    await self._take(command)
                case Foresee() | Diagnose():
                    self._answering = asyncio.create_task(self._answer(command))
                case _:
                    try:
                        await self._pass_on(command)
                    except (QuantDuelError, OSError) as error:
                        self._say(_failed(error, getattr(command, "request", None)))

    def kill(self) -> None:
        """End the worker and what it has started, at once."""
        if self._worker is not None:
            self._worker.kill()

    async def _said(self) -> AsyncIterator[FarCommand]:
        while line := await self._commands.readline():
            try:
                yield decode_far_command(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._say(Failed(kind="bad_input", message=f"not a command: {error}"))

    async def _pass_on(self, command: FarCommand) -> None:
        """To the worker, with files that are here; QuantDuelError where they are not."""
        match command:
            case Load() | Quantize():
                found = profiles.here(command.profile)
                self._is_limited = isinstance(command, Load) and command.memory_limit_bytes is not None
                await self._start(found)
                command = replace(command, profile=found)
            case Generate(prompt=prompt) | Render(prompt=prompt) if prompt is not None:
                command = replace(command, prompt=profiles.prompt_here(prompt))
            case Score():
                command = self._with_files(command)
            case Ping() | Rest() | Piece() | Foresee() | Diagnose():
                return
        if self._worker is not None:
            self._worker.send(command)

    async def _start(self, found: Profile) -> None:
        if self._worker is not None:
            return
        place = found.runs_in
        lacking = environments.missing(place.environment) if place.environment else None
        if absent := lacking or (place.is_own and packages.missing(packages.library(found.quantization))):
            raise absent
        settings = await asyncio.to_thread(nvidia.environment, found.model.device)
        oom_kills = oom_kill.count()
        self._worker = await WorkerProcess.started(found.name or "worker", settings, launch.command(place))
        self._pump = asyncio.create_task(self._pass_back(self._worker, oom_kills))

    async def _pass_back(self, worker: WorkerProcess, oom_kills: int | None) -> None:
        """What the worker says, and at its end why."""
        async for event in worker.events():
            if isinstance(event, Loaded):
                self._row_bytes = event.info.vocabulary * event.info.logit_bytes
            elif isinstance(event, Scored):
                await self._send_logits(event)
            self._say(event)
            await self._events.drain()
        self._say(last_words(worker, None, oom_kills, is_limited=self._is_limited))
        await self._events.drain()
        self.worker_ended.set()

    async def _answer(self, question: Question) -> None:
        """In a thread, and after it the end: who asked wants nothing else."""
        try:
            found = await asyncio.to_thread(_answer_to, question)
            self._say(Answered(content=msgspec.Raw(msgspec.json.encode(found))))
        except (QuantDuelError, OSError) as error:
            self._say(_failed(error, None))

    # logits

    async def _take(self, piece: Piece) -> None:
        content = await self._commands.readexactly(piece.size_bytes)
        if self._reference is None or self._reference[1].is_full:
            self._drop_reference()
            file = SharedFile.in_memory(piece.of_bytes)
            self._reference = file, Inbox(file.place(), piece.of_bytes)
        self._reference[1].add(content)

    def _with_files(self, command: Score) -> Score:
        if command.reference is not None and self._reference is not None:
            place = replace(self._reference[1].place, kept=command.reference.place.kept)
            command = replace(command, reference=replace(command.reference, place=place))
        if command.write is not None:
            positions = len(command.passage.token_ids) - command.passage.first
            self._drop_written()
            kept = command.write.kept
            row_bytes = kept_row_bytes(kept) if kept else self._row_bytes
            self._written = SharedFile.in_memory(max(1, positions * row_bytes))
            command = replace(command, write=replace(self._written.place(), kept=kept))
        return command

    async def _send_logits(self, scored: Scored) -> None:
        """What the worker wrote, before the event that says so."""
        if scored.logits is not None and self._written is not None:
            for piece in pieces.sent(scored.logits.place, scored.logits.size_bytes, Sent):
                self._events.write(piece)
                await self._events.drain()
        self._drop_written()
        self._drop_reference()

    def _drop_reference(self) -> None:
        if self._reference is not None:
            self._reference[0].close()
        self._reference = None

    def _drop_written(self) -> None:
        if self._written is not None:
            self._written.close()
        self._written = None

    def _say(self, event: FarEvent) -> None:
        self._events.write(encode(event) + b"\n")


def _answer_to(question: Question) -> Plan | Diagnosis:
    if isinstance(question, Diagnose):
        found = diagnose()
        return dataclasses.replace(
            found, checks=tuple(each for each in found.checks if each.area != "terminal")
        )
    wish = Wish(context=question.context, batch=question.batch, limit_bytes=question.limit_bytes)
    return planned(profiles.here(question.profile), wish)


def _hello(patience_s: float) -> Hello:
    try:
        own = version("quantduel")
    except PackageNotFoundError:
        own = "of a source tree"
    return Hello(
        wire=WIRE_VERSION,
        version=own,
        host=identity.host(),
        machine=identity.machine(),
        patience_s=patience_s,
        ns=time.monotonic_ns(),
    )


def _failed(error: QuantDuelError | OSError, request: int | None) -> Failed:
    kind: FailureKind = "bad_input" if request is not None else "not_loaded"
    if isinstance(error, QuantDuelError):
        return Failed(kind=kind, message=error.message[:LONGEST_TEXT], hint=error.hint, request=request)
    return Failed(kind=kind, message=str(error)[:LONGEST_TEXT], request=request)


async def _line() -> tuple[_Heard, _Out]:
    """Stdin and stdout, taken over: whoever prints here prints on stderr, and whoever reads reads nothing."""
    own_in, own_out = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    loop = asyncio.get_running_loop()
    heard = _Heard(LONGEST_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(heard), os.fdopen(own_in, "rb", 0))
    os.set_blocking(own_out, True)
    return heard, _Out(own_out)


def main(patience_s: float) -> None:
    """Serve and be gone: nothing that still runs keeps the process."""
    code = 0
    try:
        asyncio.run(serve(patience_s))
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)
