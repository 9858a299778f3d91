"""The engine's side of a worker: start it, load a model in it, ask it, cancel, close.

A session is one worker process. Whatever happens to that process reaches the caller as an event, never as an
exception: a dead worker is a `Failed` like any other, and a new session loads the model again. How a request
and its answer find each other is `exchange`'s, how the process lives and ends `life`'s.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TypedDict, Unpack

from msgspec.structs import replace

from engine.config.methods import Savable
from engine.config.profile import Generation, Profile, Prompt
from engine.config.texts import FILE_TYPES
from engine.errors import QuantDuelError
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
from engine.protocol.failure import Failed
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
from engine.protocol.wire import Event
from engine.session import launch, passages
from engine.session.exchange import Exchange

MAKING = (Started, Staged, Failed)
ANSWERING = (Prompted, Resumed, Prefilled, Decoded, Finished, Failed)


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
        self._exchange = Exchange(profile, memory_limit_bytes)
        self._life = self._exchange.life
        self._first: Session | None = None  # makes what the worker needs

    def again(self) -> "Session":
        """A new session like this one, not started."""
        limit, native_step = self.memory_limit_bytes, self.native_step
        return Session(self.profile, threads=self._threads, memory_limit_bytes=limit, native_step=native_step)

    @property
    def ready(self) -> bool:
        """Whether a model is loaded and its worker lives."""
        return self.info is not None and self._life.lost is None

    @property
    def stopping(self) -> bool:
        """Whether a request was cancelled and has not ended yet; a second `cancel` then ends the process."""
        return self._exchange.is_stopping

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self._life.worker.pid if self._life.worker else None

    @property
    def log_path(self) -> Path | None:
        """Where its stderr is kept; None where that cannot be."""
        return self._life.worker.log.path if self._life.worker else None

    async def load(self) -> AsyncGenerator[Event]:
        """Start the worker and load the model; the last event is Loaded or Failed."""
        limit, native_step = self.memory_limit_bytes, self.native_step
        command = Load(
            profile=self.profile, threads=self._threads, memory_limit_bytes=limit, native_step=native_step
        )
        async for event in self._made(command, Loaded):
            if isinstance(event, Loaded):
                self.info, self.memory = event.info, event.memory
                self._life.is_loaded = True
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
        request = self._exchange.next_request()
        command = Generate(request=request, messages=messages, generation=generation, **how)
        async with aclosing(self._exchange.asked(command, Finished, ANSWERING)) as events:
            async for event in events:
                yield event

    async def render(
        self,
        messages: tuple[Message, ...],
        prompt: Prompt | None = None,
        continuations: tuple[str, ...] = (),
    ) -> Rendered | Failed:
        """The prompt a conversation becomes, as the profile or `prompt` says; texts that may follow."""
        request = self._exchange.next_request()
        command = Render(request=request, messages=messages, prompt=prompt, continuations=continuations)
        return await self._exchange.result(command, Rendered)

    async def measure(self, run: BenchRun, *, threads: int | None = None) -> Measured | Failed:
        """Run once with made-up prompts, and what was stamped."""
        return await self._exchange.result(
            Measure(request=self._exchange.next_request(), run=run, threads=threads), Measured
        )

    async def measure_served(
        self, run: ServedRun
    ) -> AsyncGenerator[ServedAdvanced | ServedAnswered | ServedMeasured | Failed]:
        """Ask a server so many times; answers come at the end, the last event is ServedMeasured or Failed."""
        command = MeasureServed(request=self._exchange.next_request(), run=run)
        expected = (ServedAdvanced, ServedAnswered, ServedMeasured, Failed)
        async with aclosing(self._exchange.asked(command, ServedMeasured, expected)) as events:
            async for event in events:
                if isinstance(event, expected):
                    yield event

    async def measure_copy(self) -> CopyMeasured | Failed:
        """How fast the model's device copies."""
        return await self._exchange.result(MeasureCopy(request=self._exchange.next_request()), CopyMeasured)

    async def tokenize(self, text: str, tokens: int | None = None) -> Tokenized | Failed:
        """A text for eval as token ids, the first `tokens` of them."""
        content = None
        if self.profile.worker.is_elsewhere and Path(text).suffix.lower() in FILE_TYPES:
            try:
                content = await asyncio.to_thread(passages.content, Path(text))
            except QuantDuelError as error:
                return Failed(kind="bad_input", message=error.message, hint=error.hint)
        command = Tokenize(request=self._exchange.next_request(), text=text, content=content, tokens=tokens)
        return await self._exchange.result(command, Tokenized)

    async def take_reference(self, profile: Profile) -> ReferenceTaken | Failed:
        """Load the reference's model into the same worker, for `score` with a `layer`."""
        return await self._exchange.result(
            TakeReference(request=self._exchange.next_request(), profile=profile), ReferenceTaken
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
        request = self._exchange.next_request()
        command = Score(request=request, passage=passage, write=write, reference=reference, layer=layer)
        return await self._exchange.result(command, Scored)

    @property
    def host(self) -> str:
        """The name of its worker's machine; empty for this one, and before it is known."""
        return self._life.far.host if self._life.far else ""

    @property
    def round_trip_ns(self) -> int | None:
        """To its worker's machine and back; None where that is this one."""
        return self._life.far.round_trip_ns if self._life.far else None

    def cancel(self) -> None:
        """Stop what the worker does now; a second call, while it is `stopping` still, ends the process.

        An answer stops after the token, or the part of the prompt, that is being computed. What makes a model
        or a checkpoint ends with its process at once.
        """
        if self._first is not None:
            self._first.cancel()
        self._exchange.cancel()

    async def close(self) -> None:
        """End the worker; its memory is free when this returns, unless the kernel cannot end it."""
        if self._first is not None:
            self._first.cancel()
        await self._exchange.close()

    async def ended(self) -> Failed:
        """Why the worker ended, once it has; for whoever wants to know without asking it anything."""
        return await self._life.over()

    async def _made(self, command: Load | Quantize, last: type[Event]) -> AsyncGenerator[Event]:
        """Start the worker for the one command that makes what it is for."""
        if lacking := launch.lacking(self.profile):
            yield lacking
            return
        self._exchange.is_busy = True
        async with aclosing(self._made_first()) as events:
            async for event in events:
                if isinstance(event, Quantized) and isinstance(command, Load):
                    command = replace(command, checkpoint=event.path)
                    continue
                yield event
                if isinstance(event, Failed):
                    self._exchange.rest()
                    self._life.ending = None
                    return
        await self._life.start()
        async with aclosing(self._exchange.asked(command, last, (*MAKING, last))) as events:
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
