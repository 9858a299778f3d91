"""The engine's side of a worker: start it, load a model in it, ask it, cancel, close.

A session is one worker process. Whatever happens to that process reaches the caller as an event, never as an
exception: a dead worker is a `Failed` like any other, and a new session loads the model again. Events that
answer nothing which was asked are dropped here.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

from msgspec.structs import replace

from engine.checkpoints import views
from engine.config.methods import Savable
from engine.config.profile import Generation, Profile, Prompt
from engine.config.texts import FILE_TYPES
from engine.errors import QuantDuelError
from engine.machine import oom_kill, packages
from engine.protocol.answers import (
    Decoded,
    Finished,
    Generate,
    Message,
    Prefilled,
    Prompted,
    Render,
    Rendered,
    Resumed,
)
from engine.protocol.failure import Cancel, Failed, FailureKind
from engine.protocol.loading import Load, Loaded, Quantize, Quantized, Staged, Started
from engine.protocol.model import Memory, ModelInfo
from engine.protocol.runs import (
    BenchRun,
    CopyMeasured,
    Measure,
    MeasureCopy,
    Measured,
    MeasureServed,
    ServedAdvanced,
    ServedAnswered,
    ServedMeasured,
    ServedRun,
)
from engine.protocol.scores import (
    Logits,
    Passage,
    Place,
    ReferenceTaken,
    Score,
    Scored,
    TakeReference,
    Tokenize,
    Tokenized,
)
from engine.protocol.wire import Command, Event
from engine.session import launch, passages
from engine.session.last_words import last_words
from engine.session.launched import LaunchedWorker, far_last_words
from engine.session.worker_process import WorkerProcess

MOST_WAITING = 1 << 16  # events that a slow reader may leave; then the worker has to wait
ADVICE_S = 5.0  # what goes with a failure may not keep it from the reader for longer
MAKING = (Started, Staged, Failed)
ANSWERING = (Prompted, Resumed, Prefilled, Decoded, Finished, Failed)

Result = TypeVar("Result", Rendered, Measured, CopyMeasured, Tokenized, ReferenceTaken, Scored)


class How(TypedDict, total=False):
    """How a conversation is answered: see `engine.protocol.answers.Generate`."""

    prompt: Prompt
    answered: tuple[int, ...]
    threads: int | None
    cold: bool


class Session:
    """One worker process and the model in it."""

    def __init__(
        self,
        profile: Profile,
        *,
        threads: int | None = None,
        memory_limit_bytes: int | None = None,
        native_step: bool = True,
    ) -> None:
        self.profile = profile
        self.native_step = native_step
        self.memory_limit_bytes = memory_limit_bytes
        self.info: ModelInfo | None = None
        self.memory: Memory | None = None
        """What was in use when the model was loaded."""
        self._threads = threads
        self._worker: WorkerProcess | None = None
        self._reading: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue(MOST_WAITING)
        self._requests = 0
        self._busy = False
        self._stopping = False
        self._expected: tuple[type[Event], ...] = ()  # what may be said now
        self._lost: Failed | None = None
        self._oom_kills: int | None = None  # the kernel's count when the worker was started
        self._first: Session | None = None  # makes what the worker needs
        self._ending: FailureKind | None = None  # why this side ended the process itself

    def again(self) -> "Session":
        """A new session like this one, not started."""
        limit, native_step = self.memory_limit_bytes, self.native_step
        return Session(self.profile, threads=self._threads, memory_limit_bytes=limit, native_step=native_step)

    @property
    def ready(self) -> bool:
        """Whether a model is loaded and its worker lives."""
        return self.info is not None and self._lost is None

    @property
    def stopping(self) -> bool:
        """Whether a request was cancelled and has not ended yet; a second `cancel` then ends the process."""
        return self._stopping

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self._worker.pid if self._worker else None

    @property
    def log_path(self) -> Path | None:
        """Where its stderr is kept; None where that cannot be."""
        return self._worker.log.path if self._worker else None

    async def load(self) -> AsyncGenerator[Event]:
        """Start the worker and load the model; the last event is Loaded or Failed."""
        limit, native_step = self.memory_limit_bytes, self.native_step
        command = Load(
            profile=self.profile, threads=self._threads, memory_limit_bytes=limit, native_step=native_step
        )
        async for event in self._made(command, Loaded):
            if isinstance(event, Loaded):
                self.info, self.memory = event.info, event.memory
            yield event

    async def quantize(self, out: str | None = None, *, force: bool = False) -> AsyncGenerator[Event]:
        """Start the worker and make the profile's checkpoint; the last event is Quantized or Failed."""
        command = Quantize(profile=self.profile, out=out, force=force, threads=self._threads)
        async for event in self._made(command, Quantized):
            yield event

    async def generate(
        self,
        messages: tuple[Message, ...],
        generation: Generation,
        **how: Unpack[How],
    ) -> AsyncGenerator[Event]:
        """Answer a conversation; the last event is Finished or Failed."""
        request = self._next_request()
        command = Generate(request=request, messages=messages, generation=generation, **how)
        async with aclosing(self._asked(command, Finished, ANSWERING)) as events:
            async for event in events:
                yield event

    async def render(
        self,
        messages: tuple[Message, ...],
        prompt: Prompt | None = None,
        continuations: tuple[str, ...] = (),
    ) -> Rendered | Failed:
        """The prompt a conversation becomes, as the profile or `prompt` says; texts that may follow."""
        request = self._next_request()
        command = Render(request=request, messages=messages, prompt=prompt, continuations=continuations)
        return await self._result(command, Rendered)

    async def measure(self, run: BenchRun, *, threads: int | None = None) -> Measured | Failed:
        """Run once with made-up prompts, and what was stamped."""
        return await self._result(Measure(request=self._next_request(), run=run, threads=threads), Measured)

    async def measure_served(
        self, run: ServedRun
    ) -> AsyncGenerator[ServedAdvanced | ServedAnswered | ServedMeasured | Failed]:
        """Ask a server so many times; answers come at the end, the last event is ServedMeasured or Failed."""
        command = MeasureServed(request=self._next_request(), run=run)
        expected = (ServedAdvanced, ServedAnswered, ServedMeasured, Failed)
        async with aclosing(self._asked(command, ServedMeasured, expected)) as events:
            async for event in events:
                if isinstance(event, expected):
                    yield event

    async def measure_copy(self) -> CopyMeasured | Failed:
        """How fast the model's device copies."""
        return await self._result(MeasureCopy(request=self._next_request()), CopyMeasured)

    async def tokenize(self, text: str, tokens: int | None = None) -> Tokenized | Failed:
        """A text for eval as token ids, the first `tokens` of them."""
        content = None
        if self.profile.worker.is_elsewhere and Path(text).suffix.lower() in FILE_TYPES:
            try:
                content = await asyncio.to_thread(passages.content, Path(text))
            except QuantDuelError as error:
                return Failed(kind="bad_input", message=error.message, hint=error.hint)
        command = Tokenize(request=self._next_request(), text=text, content=content, tokens=tokens)
        return await self._result(command, Tokenized)

    async def take_reference(self, profile: Profile) -> ReferenceTaken | Failed:
        """Load the reference's model into the same worker, for `score` with a `layer`."""
        return await self._result(
            TakeReference(request=self._next_request(), profile=profile), ReferenceTaken
        )

    async def score(
        self,
        passage: Passage,
        *,
        write: Place | None = None,
        reference: Logits | None = None,
        layer: int | None = None,
    ) -> Scored | Failed:
        """What the model says of given tokens; its logits go to `write` and are compared with `reference`.

        With a `layer` it is the reference's model that says it, with this one layer of the worker's own.
        """
        request = self._next_request()
        command = Score(request=request, passage=passage, write=write, reference=reference, layer=layer)
        return await self._result(command, Scored)

    @property
    def host(self) -> str:
        """The name of its worker's machine; empty for this one, and before it is known."""
        return self._worker.host if isinstance(self._worker, LaunchedWorker) else ""

    @property
    def round_trip_ns(self) -> int | None:
        """To its worker's machine and back; None where that is this one."""
        return self._worker.round_trip_ns if isinstance(self._worker, LaunchedWorker) else None

    def cancel(self) -> None:
        """Stop what the worker does now; a second call, while it is `stopping` still, ends the process.

        An answer stops after the token, or the part of the prompt, that is being computed. What makes a model
        or a checkpoint ends with its process at once.
        """
        if not self._busy:
            return
        if self.info is None:
            self._end("cancelled")
        elif self._stopping:
            self._end("unresponsive")
        else:
            self._stopping = True
            self._send(Cancel(request=self._requests))

    async def close(self) -> None:
        """End the worker; its memory is free when this returns, unless the kernel cannot end it."""
        self._end("cancelled")
        if self._worker is None:
            return
        await self._worker.buried()
        if self._reading is not None:
            self._expected = ()
            self._forget_events()  # the reader may wait for space in it
            await asyncio.wait([self._reading], timeout=2 * ADVICE_S)

    async def ended(self) -> Failed:
        """Why the worker ended, once it has; for whoever wants to know without asking it anything."""
        if self._reading is not None:
            await asyncio.wait([self._reading])
        return self._lost or Failed(kind="worker_lost", message="the worker was not started")

    # the process

    def _lacking(self) -> Failed | None:
        """Why no worker could load this here: a package of its method, or its Python, is missing."""
        worker = self.profile.runs_in
        if not worker.is_own:
            return launch.lacking(worker)
        if self.profile.serve is not None:
            return launch.lacking_server(self.profile.serve)
        if self.profile.is_served:
            return None
        absent = packages.missing(packages.library(self.profile.quantization))
        if absent is None:
            return None
        return Failed(kind="not_loaded", message=f"{self.profile.label} {absent.message}", hint=absent.hint)

    async def _start(self) -> None:
        self._oom_kills = oom_kill.count()
        try:
            settings = await asyncio.to_thread(launch.settings, self.profile)
            place = self.profile.runs_in
            kind = LaunchedWorker if place.is_elsewhere else WorkerProcess
            self._worker = await kind.started(self.profile.name, settings, launch.command(place))
            if isinstance(self._worker, LaunchedWorker):
                self._worker.called = " ".join(place.launch_words)
            self._worker.farewell_s = launch.farewell_s(self.profile)
        except OSError as error:
            self._lost = launch.not_started(error)
            return
        if self._ending is not None:  # meanwhile
            self._worker.kill()
        self._reading = asyncio.create_task(self._read(self._worker))

    async def _read(self, worker: WorkerProcess) -> None:
        """Take what the worker says. However this ends, whoever waits for an event gets a last one."""
        lost = Failed(kind="worker_lost", message="the worker is gone")
        try:
            async for event in worker.events():
                await self._take(event)
            if self.info is None and not isinstance(worker, LaunchedWorker):
                await _sweep_store()
            lost = await self._with_advice(self._last_words(worker))
        finally:
            self._lost = lost
            with suppress(asyncio.QueueFull):  # then nobody waits: it comes after what is there
                self._events.put_nowait(lost)

    def _last_words(self, worker: WorkerProcess) -> Failed:
        if isinstance(worker, LaunchedWorker) and self._ending is None:
            return far_last_words(worker, self.profile.worker.launch_words)
        is_limited = self.memory_limit_bytes is not None
        return last_words(worker, self._ending, self._oom_kills, is_limited=is_limited)

    async def _take(self, event: Event) -> None:
        if self._answers(event):
            await self._events.put(await self._with_advice(event) if isinstance(event, Failed) else event)

    def _answers(self, event: Event) -> bool:
        """Whether this belongs to what was asked, and is not the tail of an answer whose reader left."""
        owner = getattr(event, "request", None)
        return self._busy and isinstance(event, self._expected) and owner in {None, self._requests}

    async def _with_advice(self, failed: Failed) -> Failed:
        """A shortage with what to try, by name; every other failure as it is."""
        if failed.kind != "out_of_memory" or self.profile.worker.is_elsewhere:
            return failed
        from engine.plan import advice

        asked = asyncio.to_thread(advice.advised, failed, self.profile, self.memory_limit_bytes)
        try:
            return await asyncio.wait_for(asked, ADVICE_S)
        except Exception as error:  # the failure is reported all the same
            if self._worker is not None:
                self._worker.log.note(f"no advice: {error!r}")
            return failed

    def _end(self, why: FailureKind) -> None:
        if self._worker is None:
            self._ending = why if self._busy else None  # it is being started
            if self._first is not None:
                self._first.cancel()
        elif self._worker.exit_code is None:
            self._ending = why
            self._worker.kill()

    # the wire

    def _next_request(self) -> int:
        if self._busy:
            raise RuntimeError("a session does one thing at a time")
        if self._worker is None and self._lost is None:
            raise RuntimeError("load() comes first")
        self._requests += 1
        return self._requests

    def _send(self, command: Command) -> None:
        if self._lost is None and self._worker is not None:
            self._worker.send(command)

    async def _say(self, command: Command) -> None:
        """Send it, with the files that it names where the worker sees none of them."""
        if isinstance(command, Score) and isinstance(self._worker, LaunchedWorker) and self._lost is None:
            try:
                await self._worker.send_score(command)
            except OSError as error:
                message = f"the reference's logits cannot be sent: {error}"
                failed = Failed(kind="generation", message=message, request=command.request)
                self._events.put_nowait(failed)
        else:
            self._send(command)

    async def _made(self, command: Load | Quantize, last: type[Event]) -> AsyncGenerator[Event]:
        """Start the worker for the one command that makes what it is for."""
        if lacking := self._lacking():
            yield lacking
            return
        self._busy = True
        async with aclosing(self._made_first()) as events:
            async for event in events:
                if isinstance(event, Quantized) and isinstance(command, Load):
                    command = replace(command, checkpoint=event.path)
                    continue
                yield event
                if isinstance(event, Failed):
                    self._busy, self._ending = False, None
                    return
        await self._start()
        async with aclosing(self._asked(command, last, (*MAKING, last))) as events:
            async for event in events:
                yield event

    async def _made_first(self) -> AsyncGenerator[Event]:
        """What QuantDuel's own Python has to make before: see `launch.first`."""
        wanted = launch.first(self.profile)
        if wanted is None:
            return
        first = self._first = Session(wanted, threads=self._threads, native_step=False)
        try:
            makes = self.profile.serve is not None and isinstance(wanted.quantization, Savable)
            async with aclosing(first.quantize() if makes else first.load()) as events:
                async for event in events:
                    if isinstance(event, Staged | Failed | Quantized):
                        yield event
        finally:
            self._first = None
            await first.close()

    async def _result(self, command: Command, last: type[Result]) -> Result | Failed:
        """The one event that answers a command; a reader that leaves early cancels it."""
        async with aclosing(self._asked(command, last, (last, Failed))) as events:
            async for event in events:
                if isinstance(event, last | Failed):
                    return event
        raise AssertionError("a request ends with its last event")

    async def _asked(
        self, command: Command, last: type[Event], expected: tuple[type[Event], ...]
    ) -> AsyncGenerator[Event]:
        """Say it, and the answer up to its last event, which is of type `last` or Failed."""
        self._forget_events()
        self._busy, self._expected = True, expected
        ended = False
        try:
            await self._say(command)
            while not ended:
                event = await self._next_event()
                ended = isinstance(event, last | Failed)
                if ended:
                    self._rest()
                yield event
        finally:
            if not ended:  # the reader left early; after the end another request may be under way
                self._end("cancelled") if self.info is None else self._send(Cancel(request=self._requests))
                self._rest()

    async def _next_event(self) -> Event:
        while True:
            event = self._lost if self._lost and self._events.empty() else await self._events.get()
            if event is self._lost or self._answers(event):
                return event

    def _rest(self) -> None:
        self._busy, self._stopping, self._expected = False, False, ()

    def _forget_events(self) -> None:
        while not self._events.empty():
            self._events.get_nowait()


async def _sweep_store() -> None:
    """Remove what an ended worker was making or reading through; where that fails, the next visitor does."""
    from engine.checkpoints import store

    views.sweep()
    with suppress(OSError, TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(store.sweep), ADVICE_S)
