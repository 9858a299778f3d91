"""The worker's loop: take a command, do it, emit what happens. A failed request leaves the worker usable.

Translates between the wire and the parts that know models; owns how errors become Failed events.
"""

import os
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from msgspec.structs import replace
from transformers import DynamicCache

from engine.config.methods import Checkpointed, original
from engine.config.profile import Profile
from engine.errors import InputError, LoadError, OutOfMemoryError, QuantDuelError
from engine.machine import energy as counters
from engine.machine.energy import Meter
from engine.protocol.answers import (
    Decoded,
    Finished,
    Generate,
    Prefilled,
    Prompted,
    Render,
    Rendered,
    Resumed,
)
from engine.protocol.bounds import LONGEST_TEXT
from engine.protocol.failure import GPU_FAULT_EXIT_CODE, Failed, FailureKind
from engine.protocol.loading import Load, Loaded, Quantize
from engine.protocol.model import Energy, ThinkMarks
from engine.protocol.runs import Measure, MeasureCopy, MeasureServed
from engine.protocol.scores import ReferenceTaken, Score, TakeReference, Tokenize
from engine.protocol.wire import Command
from engine.sanitize import without_userinfo
from engine.session.schedule import physical_cores
from engine.token_ids import sha256
from engine.worker import methods
from engine.worker.generate import decode, prompt, thinking
from engine.worker.generate.prefix_cache import KeptCache
from engine.worker.generate.rehearsal import rehearsed
from engine.worker.host import bandwidth, gpu_fault, memory, memory_limit
from engine.worker.host.spare_cores import SpareCores
from engine.worker.load import LoadedModel, load
from engine.worker.measure import bench_run
from engine.worker.measure.one_layer import Counterparts
from engine.worker.measure.score import Scorer
from engine.worker.step import GrowingCache
from engine.worker.texts import evaluation
from engine.worker.wire import Wire

HERE = "a model in a worker answers one request at a time"


def serve(wire: Wire) -> None:
    """Serve for as long as the process lives: the wire ends it."""
    loaded: LoadedModel | None = None
    kept, scorer = KeptCache(), Scorer()
    energy: Meter | None = None
    counterparts: Counterparts | None = None
    while True:
        received_ns, command = wire.next_command()
        if isinstance(command, Load):
            loaded, energy = _load(wire, command, kept) if loaded is None else _keep(wire, loaded, energy)
        elif isinstance(command, Quantize):
            _quantize(wire, command)
        elif loaded is None:
            wire.emit(Failed(kind="bad_input", message="no model is loaded", request=command.request))
        elif isinstance(command, Render):
            _render(wire, loaded, command)
        elif isinstance(command, Tokenize):
            _tokenize(wire, loaded, command)
        elif isinstance(command, TakeReference):
            counterparts = _take_reference(wire, loaded, command)
        elif isinstance(command, Score):
            _score(wire, loaded, command, scorer, counterparts)
        elif isinstance(command, MeasureServed):
            wire.emit(Failed(kind="bad_input", message=HERE, request=command.request))
        elif isinstance(command, Measure | MeasureCopy):
            _measure(wire, loaded, command, kept, energy)
        else:
            _Request(wire, loaded, command, received_ns, kept, energy).answer()
        if not isinstance(command, Measure | Score):  # a repeat should not pay for what was just allocated
            _release(command)


def _counted(profile: Profile) -> tuple[Meter | None, Energy]:
    """The meter of the device where the model will be, and that device's draw while there is none."""
    kind: Literal["cpu", "cuda"] = "cuda" if _is_for_gpu(profile) else "cpu"
    found = counters.meter(kind)
    return (found if isinstance(found, Meter) else None), counters.described(found, kind)


def _is_for_gpu(profile: Profile) -> bool:
    return profile.model.device != "cpu" and torch.cuda.is_available()


def _load(wire: Wire, command: Load, kept: KeptCache) -> tuple[LoadedModel | None, Meter | None]:
    energy, draw = _counted(command.profile)
    with _failures_reported(wire, "not_loaded"):
        _limit_memory(command)
        loaded = load(command.profile, command.threads, wire.emit, native_step=command.native_step)
        kept.dtype = loaded.cache_dtype
        rehearsed(loaded, kept, wire.emit)
        _release(command)  # what was needed for loading alone is not in use
        in_use = memory.read(loaded.model, loaded.device, None)
        wire.emit(Loaded(info=replace(loaded.info, energy=draw), memory=in_use))
        return loaded, energy
    return None, None


def _limit_memory(command: Load) -> None:
    """Set the user's limit once the method's libraries are here: their threads' stacks then do not count."""
    if command.memory_limit_bytes is None:
        return
    _require_host(command)
    method = command.profile.quantization
    methods.loader(method)
    if isinstance(method, Checkpointed) and not original(method):
        from engine.worker.methods import gptqmodel_api

        gptqmodel_api.package()
    # As `load` does. Some builds of torch start threads there, and wait for ever for one without memory.
    torch.set_num_threads(command.threads or physical_cores())
    memory_limit.set_limit(command.memory_limit_bytes)


def _require_host(command: Load) -> None:
    """LoadError where the model goes to a GPU: its driver maps far more host memory than it uses."""
    if _is_for_gpu(command.profile):
        message = "--memory-limit limits the host's memory, and this model goes to a GPU"
        raise LoadError(message, "leave out --memory-limit, or use `device: cpu`")


def _quantize(wire: Wire, command: Quantize) -> None:
    from engine.worker.quantize import ensure

    with _failures_reported(wire, "not_loaded"):
        wire.emit(ensure.done(command, wire.emit))


def _keep(wire: Wire, loaded: LoadedModel, energy: Meter | None) -> tuple[LoadedModel | None, Meter | None]:
    hint = "start another worker for another model"
    wire.emit(Failed(kind="bad_input", message="a model is already loaded", hint=hint))
    return loaded, energy


def _render(wire: Wire, loaded: LoadedModel, command: Render) -> None:
    with _failures_reported(wire, "generation", command.request):
        wanted = command.prompt or loaded.profile.prompt
        asked = loaded.tokenizer, wanted, command.messages
        text, token_ids = prompt.render(*asked)
        following: tuple[tuple[int, ...], ...] = ()
        if command.continuations:
            token_ids, following = prompt.continued(*asked, command.continuations)
        ids = tuple(token_ids)
        wire.emit(Rendered(request=command.request, text=text, token_ids=ids, continuation_ids=following))


def _tokenize(wire: Wire, loaded: LoadedModel, command: Tokenize) -> None:
    with _failures_reported(wire, "bad_input", command.request):
        wire.emit(evaluation.tokenize(loaded.tokenizer, command))


def _take_reference(wire: Wire, loaded: LoadedModel, command: TakeReference) -> Counterparts | None:
    with _failures_reported(wire, "generation", command.request):
        reference = load(command.profile, loaded.info.threads, lambda _: None)
        found = Counterparts(reference, loaded)
        wire.emit(ReferenceTaken(request=command.request, layers=len(found)))
        return found
    return None


def _score(
    wire: Wire, loaded: LoadedModel, command: Score, scorer: Scorer, counterparts: Counterparts | None
) -> None:
    with _failures_reported(wire, "generation", command.request), ExitStack() as stack:
        if command.layer is not None:
            if counterparts is None:
                raise InputError("no reference was taken")
            loaded = stack.enter_context(counterparts.exchanged(command.layer))
        wire.emit(scorer.scored(loaded, command, lambda: wire.is_cancelled(command.request)))


def _measure(
    wire: Wire,
    loaded: LoadedModel,
    command: Measure | MeasureCopy,
    kept: KeptCache,
    energy: Meter | None,
) -> None:
    with _failures_reported(wire, "generation", command.request):
        if isinstance(command, MeasureCopy):
            kept.drop()
            wire.emit(bench_run.copied(loaded, command))
        else:
            number = command.request
            wire.emit(bench_run.measured(loaded, command, lambda: wire.is_cancelled(number), kept, energy))


@dataclass(frozen=True, slots=True)
class _Request:
    """One running Generate command."""

    wire: Wire
    loaded: LoadedModel
    command: Generate
    received_ns: int
    kept: KeptCache
    energy: Meter | None = None
    begun: list[int] = field(default_factory=list)
    """When the energy's counting began."""

    def answer(self) -> None:
        """From the conversation to Finished, or Failed."""
        with _failures_reported(self.wire, "generation", self.command.request):
            cores = SpareCores.for_model(self.loaded.info.threads, self.loaded.device, self.command.threads)
            wanted = self.command.prompt or self.loaded.profile.prompt
            asked = self.loaded.tokenizer, wanted, self.command.messages
            text, token_ids = prompt.render(*asked)
            prompt_ids = list(token_ids)
            token_ids += self.command.answered
            cache, preparing_ns = self._cache(token_ids)
            memory.reset_peak(self.loaded.device)
            prompt_tokens = len(token_ids)
            remarks = (*prompt.remarks(*asked, text, prompt_ids), *_preparation(preparing_ns))
            think = thinking.of_prompt(thinking.marks(asked[0], prompt.template(*asked[:2])), text)
            event = self._prompted(token_ids, cache.get_seq_length(), remarks, think)
            self.wire.emit(replace(event, ns=self.received_ns + preparing_ns))
            cancelled = cores.between_steps(self._cancelled)
            steps = decode.generate(
                self.loaded,
                token_ids,
                self.command.generation,
                cancelled,
                cache,
                answered=len(self.command.answered),
            )
            for step in steps:
                if isinstance(step, decode.Token):
                    token_ids.append(step.id)
                self._emit(step, cache, prompt_tokens, cores)
            self.kept.keep(cache, token_ids)

    def _cache(self, token_ids: list[int]) -> tuple[GrowingCache, int]:
        """A cache with the prompt's cached prefix, empty for a cold request; and the ns of preparing it.

        That happens once for all answers of this size: it counts towards none.
        """
        window, config = self.loaded.info.context_length, self.loaded.model.config
        new_tokens, left = self.command.generation.max_new_tokens, window - len(token_ids)
        expected = max(0, min(new_tokens, left)) if window else new_tokens
        cache = self.kept.take(token_ids, config, expected, cold=self.command.cold)
        return cache, decode.prepare(self.loaded, cache) if expected else 0

    def _prompted(
        self, token_ids: list[int], reused: int, notes: tuple[str, ...], think: ThinkMarks | None
    ) -> Prompted:
        return Prompted(
            request=self.command.request,
            tokens=len(token_ids),
            sha256=sha256(token_ids),
            reused_tokens=reused,
            notes=notes,
            think=think,
        )

    def _cancelled(self) -> bool:
        return self.wire.is_cancelled(self.command.request)

    def _emit(self, step: decode.Step, cache: DynamicCache, prompt_tokens: int, cores: SpareCores) -> None:
        number, emit = self.command.request, self.wire.emit
        match step:
            case decode.Resumption(ids, pieces):
                emit(Resumed(request=number, token_ids=ids, pieces=pieces))
            case decode.Prefill(done, total, ns):
                emit(Prefilled(request=number, done=done, total=total, ns=ns))
            case decode.Token(id, text, ns):
                if self.energy is not None and not self.begun:
                    self.begun.append(ns)
                    self.energy.begin()
                emit(Decoded(request=number, token_id=id, text=text, ns=ns))
            case decode.End(reason, text, mode, notes):
                joules = self.energy.joules() if self.energy is not None and self.begun else None
                in_use = memory.read(self.loaded.model, self.loaded.device, cache)
                halfway = (prompt_tokens + cache.get_seq_length()) // 2
                read = bandwidth.step_bytes(self.loaded.model, cache, 1, halfway)
                emit(
                    Finished(
                        request=number,
                        reason=reason,
                        memory=in_use,
                        text=text,
                        step_bytes=read,
                        decode_joules=joules,
                        decode=mode,
                        notes=(*notes, *cores.notes()),
                    )
                )


def _preparation(ns: int) -> tuple[str, ...]:
    """What was done once before an answer's clock started."""
    return (f"a CUDA graph for longer texts was captured before this answer: {ns / 1e9:.1f} s",) if ns else ()


@contextmanager
def _failures_reported(wire: Wire, kind: FailureKind, request: int | None = None) -> Iterator[None]:
    """Turn an exception into a Failed event; the log gets the traceback."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in a tokenizer's Rust is no Exception
        with memory_limit.lifted():
            traceback.print_exc()
            is_lost = gpu_fault.is_lost(error)
            wire.emit(failure(error, "worker_lost" if is_lost else kind, request))
        if is_lost:
            os._exit(GPU_FAULT_EXIT_CODE)


def failure(error: BaseException, kind: FailureKind, request: int | None = None) -> Failed:
    """What to show the user of an exception; `kind` unless the exception implies a better one."""
    message, hint = _described(error)
    if isinstance(error, OutOfMemoryError) or memory.is_out_of_memory(error):
        kind = "out_of_memory"
    elif isinstance(error, InputError):
        kind = "bad_input"
    return Failed(kind=kind, message=_printable(message), hint=_printable(hint), request=request)


def _described(error: BaseException) -> tuple[str, str]:
    """Message and hint."""
    if memory.is_out_of_memory(error) and not isinstance(error, OutOfMemoryError):
        return memory.shortage(error), "try a shorter context or a smaller batch"
    if isinstance(error, QuantDuelError):
        return error.message, error.hint
    if gpu_fault.is_lost(error):
        return gpu_fault.message(error), gpu_fault.HINT
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}", ""


def _printable(text: str) -> str:
    """The text as it may go over the wire: in UTF-8, truncated, without passwords."""
    return without_userinfo(text).encode(errors="replace").decode()[:LONGEST_TEXT]


def _release(command: Command) -> None:
    """Return unused blocks to the driver, for the other side; a failure here fails no request.

    After an answer, whose next prompt would allocate them again, only where little is free for others.
    """
    if not torch.cuda.is_initialized():
        return
    try:
        if not isinstance(command, Generate) or memory.is_wanted_by_others():
            torch.cuda.empty_cache()
    except RuntimeError:
        traceback.print_exc()  # into the log
