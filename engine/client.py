"""The engine's side of a worker: start it, load a model in it, ask it, cancel, close.

A session is one worker process. Whatever happens to that process reaches the caller as an event, never as an
exception: a dead worker is a `Failed` like any other, and a new session loads the model again.
"""

import asyncio
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import TypeVar

import msgspec

from engine import oom_kill, packages, paths
from engine.profile import Generation, Profile
from engine.protocol import (
    Cancel,
    Command,
    CopyMeasured,
    Cut,
    Event,
    Failed,
    FailureKind,
    Finished,
    Generate,
    Load,
    Loaded,
    Logits,
    Measure,
    MeasureCopy,
    Measured,
    Message,
    ModelInfo,
    Pass,
    Passage,
    Place,
    Quantize,
    Quantized,
    Render,
    Rendered,
    Score,
    Scored,
    TextCut,
    decode_event,
    encode,
)

CANCEL_TIMEOUT_S = 3.0
LONGEST_LINE_BYTES = 1 << 26
LOG_LIMIT_BYTES = 1 << 20
LOG_TAIL_LINES = 20

Result = TypeVar("Result", Measured, CopyMeasured, TextCut, Scored)


class Session:
    """One worker process and the model in it."""

    def __init__(
        self,
        profile: Profile,
        *,
        threads: int | None = None,
        memory_limit_bytes: int | None = None,
        packed: bool = True,
    ) -> None:
        self.profile = profile
        self.packed = packed
        self.memory_limit_bytes = memory_limit_bytes
        self.info: ModelInfo | None = None
        self.log_path: Path | None = None
        self._threads = threads
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._log_tail: deque[str] = deque(maxlen=LOG_TAIL_LINES)
        self._requests = 0
        self._busy = False
        self._lost: Failed | None = None
        self._oom_kills: int | None = None  # the kernel's count when the worker was started
        self._ending: FailureKind | None = None  # why this side ended the process itself

    def again(self) -> "Session":
        """A new session like this one, not started."""
        limit, packed = self.memory_limit_bytes, self.packed
        return Session(self.profile, threads=self._threads, memory_limit_bytes=limit, packed=packed)

    @property
    def ready(self) -> bool:
        """Whether a model is loaded and its worker lives."""
        return self.info is not None and self._lost is None

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self._process.pid if self._process else None

    async def load(self) -> AsyncIterator[Event]:
        """Start the worker and load the model; the last event is Loaded or Failed."""
        if lacking := self._lacking():
            yield lacking
            return
        await self._start()
        limit, packed = self.memory_limit_bytes, self.packed
        self._send(Load(profile=self.profile, threads=self._threads, memory_limit_bytes=limit, packed=packed))
        async for event in self._until(Loaded):
            if isinstance(event, Loaded):
                self.info = event.info
            yield event

    async def quantize(self, out: str | None = None, *, force: bool = False) -> AsyncIterator[Event]:
        """Start the worker and make the profile's checkpoint; the last event is Quantized or Failed."""
        if lacking := self._lacking():
            yield lacking
            return
        await self._start()
        self._send(Quantize(profile=self.profile, out=out, force=force, threads=self._threads))
        async for event in self._until(Quantized):
            yield event

    async def generate(
        self,
        messages: tuple[Message, ...],
        generation: Generation,
        *,
        threads: int | None = None,
        cold: bool = False,
    ) -> AsyncGenerator[Event]:
        """Answer a conversation; the last event is Finished or Failed. `cold` reads the whole prompt anew."""
        request = self._next_request()
        self._send(
            Generate(request=request, messages=messages, generation=generation, threads=threads, cold=cold)
        )
        try:
            async for event in self._until(Finished, request):
                yield event
        finally:
            if self._busy:  # the reader left early
                self._send(Cancel(request=request))
                self._busy = False

    async def render(self, messages: tuple[Message, ...]) -> Rendered | Failed:
        """The prompt a conversation becomes."""
        request = self._next_request()
        self._send(Render(request=request, messages=messages))
        async for event in self._until(Rendered, request):
            if isinstance(event, Rendered | Failed):
                return event
        raise AssertionError("a request ends with its last event")

    async def measure(self, run: Pass, *, threads: int | None = None) -> Measured | Failed:
        """Run once with made-up prompts, and what was stamped."""
        request = self._next_request()
        return await self._result(Measure(request=request, run=run, threads=threads), Measured, request)

    async def measure_copy(self) -> CopyMeasured | Failed:
        """How fast the model's device copies."""
        request = self._next_request()
        return await self._result(MeasureCopy(request=request), CopyMeasured, request)

    async def cut(self, text: str, tokens: int | None = None) -> TextCut | Failed:
        """An evaluation text as token ids, so many from its beginning."""
        request = self._next_request()
        return await self._result(Cut(request=request, text=text, tokens=tokens), TextCut, request)

    async def score(
        self, passage: Passage, *, write: Place | None = None, reference: Logits | None = None
    ) -> Scored | Failed:
        """What the model says of given tokens; its logits go to `write` and are compared with `reference`."""
        request = self._next_request()
        command = Score(request=request, passage=passage, write=write, reference=reference)
        return await self._result(command, Scored, request)

    def cancel(self) -> None:
        """Stop what the worker does now. A load ends with its process, an answer after 3 s too."""
        if not self._busy:
            return
        if self.info is None:
            self._end("cancelled")
            return
        request = self._requests
        self._send(Cancel(request=request))
        asyncio.get_running_loop().call_later(CANCEL_TIMEOUT_S, self._end_if_deaf, request)

    async def close(self) -> None:
        """End the worker; its memory is back when this returns."""
        if self._process is None:
            return
        self._end("cancelled")
        await self._process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ended(self) -> Failed:
        """Why the worker ended, once it has; for whoever wants to know without asking it anything."""
        await asyncio.wait(self._tasks[:1])
        return self._lost or Failed(kind="worker_lost", message="the worker was not started")

    # the process

    def _lacking(self) -> Failed | None:
        """Why no worker could load this here: a package of its method is missing. Told at once."""
        absent = packages.missing(packages.library(self.profile.quantization))
        if absent is None:
            return None
        return Failed(kind="not_loaded", message=f"{self.profile.label} {absent.message}", hint=absent.hint)

    async def _start(self) -> None:
        self._busy = True
        self._oom_kills = oom_kill.count()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "engine.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE_BYTES,
            start_new_session=True,  # Ctrl-C in the terminal is ours to handle
        )
        self._tasks = [asyncio.create_task(self._read_events()), asyncio.create_task(self._read_log())]

    async def _read_events(self) -> None:
        process = _running(self._process)
        stdout = _stream(process.stdout)
        while line := await stdout.readline():
            try:
                event = decode_event(line)
                self._events.put_nowait(
                    await self._with_advice(event) if isinstance(event, Failed) else event
                )
            except msgspec.MsgspecError as error:
                self._log_tail.append(f"unreadable event: {error}")
        code = await process.wait()
        if self.info is None:
            await asyncio.to_thread(_sweep_store)
        self._lost = await self._with_advice(self._last_words(code))
        self._events.put_nowait(self._lost)

    async def _read_log(self) -> None:
        """Keep the worker's stderr: its tail in memory, its beginning in a bounded file."""
        process = _running(self._process)
        stderr = _stream(process.stderr)
        folder = paths.logs()
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / f"{self.profile.name}-{process.pid}.log"
        with self.log_path.open("wb") as log:
            while chunk := await stderr.read(1 << 16):
                log.write(chunk[: max(0, LOG_LIMIT_BYTES - log.tell())])
                log.flush()
                self._log_tail.extend(chunk.decode(errors="replace").splitlines())

    def _last_words(self, code: int) -> Failed:
        log = f"log: {self.log_path}"
        match self._ending:
            case "cancelled":
                return Failed(kind="cancelled", message="cancelled")
            case "unresponsive":
                message = f"did not stop within {CANCEL_TIMEOUT_S:g} s and was ended"
                return Failed(kind="unresponsive", message=message, hint="load it again")
        if self._ran_out(code):
            message = "the worker was ended for want of memory"
            return Failed(kind="out_of_memory", message=message, hint=f"load it again; {log}")
        if code == -signal.SIGKILL:
            by_hand = "the kernel counts no kill for want of memory, so by somebody's hand"
            both = "by hand, or by the kernel for want of memory"
            message = f"the worker was killed (SIGKILL: {both if self._oom_kills is None else by_hand})"
        elif code < 0:
            message = f"the worker died of {signal.Signals(-code).name}"
        else:
            message = f"the worker ended with exit code {code}"
        return Failed(kind="worker_lost", message=message, hint=f"load it again; {log}")

    def _ran_out(self, code: int) -> bool:
        """Whether the process ended because memory did: the kernel counts its kills, C++ names the reason."""
        if code == -signal.SIGKILL and self._oom_kills is not None:
            return (oom_kill.count() or 0) > self._oom_kills
        return code == -signal.SIGABRT and any("bad_alloc" in line for line in self._log_tail)

    async def _with_advice(self, failed: Failed) -> Failed:
        """A shortage with what to try, by name; every other failure as it is."""
        if failed.kind != "out_of_memory":
            return failed
        from engine.plan import advice

        return await asyncio.to_thread(advice.advised, failed, self.profile, self.memory_limit_bytes)

    def _end(self, why: FailureKind) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            self._ending = why
            process.kill()

    def _end_if_deaf(self, request: int) -> None:
        if self._busy and self._requests == request:
            self._end("unresponsive")

    # the wire

    def _next_request(self) -> int:
        if self._busy:
            raise RuntimeError("a session does one thing at a time")
        self._busy = True
        self._requests += 1
        return self._requests

    def _send(self, command: Command) -> None:
        if self._lost is None:
            _pipe(_running(self._process).stdin).write(encode(command) + b"\n")

    async def _result(self, command: Command, last: type[Result], request: int) -> Result | Failed:
        """The one event that answers a command; a reader that leaves early cancels it."""
        self._send(command)
        try:
            async for event in self._until(last, request):
                if isinstance(event, last | Failed):
                    return event
        finally:
            if self._busy:
                self._send(Cancel(request=request))
                self._busy = False
        raise AssertionError("a request ends with its last event")

    async def _until(self, last: type[Event], request: int | None = None) -> AsyncIterator[Event]:
        """Events of this request up to its last, which is of type `last` or Failed."""
        while True:
            event = self._lost if self._lost and self._events.empty() else await self._events.get()
            owner = getattr(event, "request", None)
            if owner is not None and owner != request:
                continue  # the tail of an answer whose reader left
            ended = isinstance(event, last | Failed)
            if ended:
                self._busy = False
            yield event
            if ended:
                return


def _sweep_store() -> None:
    """Remove the checkpoint that an ended worker was making."""
    from engine import store

    store.sweep()


def _running(process: asyncio.subprocess.Process | None) -> asyncio.subprocess.Process:
    if process is None:
        raise RuntimeError("load() comes first")
    return process


def _stream(reader: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if reader is None:
        raise RuntimeError("the worker was started without a pipe")
    return reader


def _pipe(writer: asyncio.StreamWriter | None) -> asyncio.StreamWriter:
    if writer is None:
        raise RuntimeError("the worker was started without a pipe")
    return writer
