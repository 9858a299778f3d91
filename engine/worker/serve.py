"""The worker's loop: take a command, do it, emit what happens. A failed request leaves the worker usable.

Translates between the wire and the parts that know models; owns how errors become Failed events.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from engine.errors import InputError, OutOfMemoryError, QuantDuelError
from engine.protocol import (
    Decoded,
    Failed,
    FailureKind,
    Finished,
    Generate,
    Load,
    Loaded,
    Measure,
    MeasureCopy,
    Prefilled,
    Prompted,
    Quantize,
    Render,
    Rendered,
)
from engine.worker import decode, measure, memory, prompt
from engine.worker.kept_cache import KeptCache
from engine.worker.load import LoadedModel, load
from engine.worker.wire import Wire


def serve(wire: Wire) -> None:
    """Serve for as long as the process lives: the wire ends it."""
    loaded: LoadedModel | None = None
    kept = KeptCache()
    while True:
        received_ns, command = wire.next_command()
        if isinstance(command, Load):
            loaded = _load(wire, command) if loaded is None else _keep(wire, loaded)
        elif isinstance(command, Quantize):
            _quantize(wire, command)
        elif loaded is None:
            wire.emit(Failed(kind="bad_input", message="no model is loaded", request=command.request))
        elif isinstance(command, Render):
            _render(wire, loaded, command)
        elif isinstance(command, Measure | MeasureCopy):
            kept.drop()
            _measure(wire, loaded, command)
        else:
            _Request(wire, loaded, command, received_ns, kept).answer()
        if not isinstance(command, Measure):  # a repeat should not pay for what its warm-up allocated
            _release()


def _load(wire: Wire, command: Load) -> LoadedModel | None:
    with _failures_reported(wire, "not_loaded"):
        loaded = load(command.profile, command.threads, wire.emit)
        in_use = memory.read(loaded.model, loaded.device, None)
        wire.emit(Loaded(info=loaded.info, memory=in_use))
        return loaded
    return None


def _quantize(wire: Wire, command: Quantize) -> None:
    from engine.worker import quantize

    with _failures_reported(wire, "not_loaded"):
        wire.emit(quantize.done(command, wire.emit))


def _keep(wire: Wire, loaded: LoadedModel) -> LoadedModel:
    hint = "start another worker for another model"
    wire.emit(Failed(kind="bad_input", message="a model is loaded already", hint=hint))
    return loaded


def _render(wire: Wire, loaded: LoadedModel, command: Render) -> None:
    with _failures_reported(wire, "generation", command.request):
        text, token_ids = prompt.render(loaded.tokenizer, loaded.profile.prompt, command.messages)
        wire.emit(Rendered(request=command.request, text=text, token_ids=tuple(token_ids)))


def _measure(wire: Wire, loaded: LoadedModel, command: Measure | MeasureCopy) -> None:
    with _failures_reported(wire, "generation", command.request):
        if isinstance(command, MeasureCopy):
            wire.emit(measure.copied(loaded, command))
        else:
            wire.emit(measure.measured(loaded, command, lambda: wire.is_cancelled(command.request)))


@dataclass(frozen=True, slots=True)
class _Request:
    """One Generate command under way."""

    wire: Wire
    loaded: LoadedModel
    command: Generate
    received_ns: int
    kept: KeptCache

    def answer(self) -> None:
        """From the conversation to Finished, or Failed."""
        with _failures_reported(self.wire, "generation", self.command.request):
            torch.set_num_threads(self.command.threads or self.loaded.info.threads)
            memory.reset_peak(self.loaded.device)
            _, token_ids = prompt.render(
                self.loaded.tokenizer, self.loaded.profile.prompt, self.command.messages
            )
            cache = self._cache(token_ids)
            self._tell_prompt(token_ids, cache.get_seq_length())
            for step in decode.generate(
                self.loaded, token_ids, self.command.generation, self._cancelled, cache
            ):
                if isinstance(step, decode.Token):
                    token_ids.append(step.id)
                self._tell(step, cache)
            self.kept.keep(cache, token_ids)

    def _cache(self, token_ids: list[int]) -> DynamicCache:
        """What is still held of the prompt; nothing for a cold request."""
        if self.command.cold:
            self.kept.drop()
        return self.kept.take(token_ids, self.loaded.model.config)

    def _tell_prompt(self, token_ids: list[int], reused: int) -> None:
        self.wire.emit(
            Prompted(
                request=self.command.request,
                tokens=len(token_ids),
                sha256=prompt.sha256(token_ids),
                reused_tokens=reused,
                ns=self.received_ns,
            )
        )

    def _cancelled(self) -> bool:
        return self.wire.is_cancelled(self.command.request)

    def _tell(self, step: decode.Step, cache: DynamicCache) -> None:
        number, emit = self.command.request, self.wire.emit
        match step:
            case decode.Prefill(done, total, ns):
                emit(Prefilled(request=number, done=done, total=total, ns=ns))
            case decode.Token(id, text, ns):
                emit(Decoded(request=number, token_id=id, text=text, ns=ns))
            case decode.End(reason, text):
                in_use = memory.read(self.loaded.model, self.loaded.device, cache)
                emit(Finished(request=number, reason=reason, memory=in_use, text=text))


@contextmanager
def _failures_reported(wire: Wire, kind: FailureKind, request: int | None = None) -> Iterator[None]:
    """Turn an exception into a Failed event; the log gets the traceback."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        wire.emit(failure(error, kind, request))


def failure(error: Exception, kind: FailureKind, request: int | None = None) -> Failed:
    """What to tell the user about an exception; `kind` where the exception does not say it better."""
    if isinstance(error, OutOfMemoryError):
        return Failed(kind="out_of_memory", message=error.message, hint=error.hint, request=request)
    if memory.is_out_of_memory(error):
        hint = "try a smaller method, a shorter context, or close the other side"
        return Failed(kind="out_of_memory", message=memory.shortage(error), hint=hint, request=request)
    if isinstance(error, QuantDuelError):
        kind = "bad_input" if isinstance(error, InputError) else kind
        return Failed(kind=kind, message=error.message, hint=error.hint, request=request)
    line = next(iter(str(error).splitlines()), "")
    return Failed(kind=kind, message=f"{type(error).__name__}: {line}", request=request)


def _release() -> None:
    """Give unused blocks back to the driver, so that the other side can have them."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
