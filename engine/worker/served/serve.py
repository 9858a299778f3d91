"""The worker's loop where a server computes: the same commands and events, and no model in this process.

What is known of the loaded side is `side`'s. What a server cannot do is refused in one place.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Protocol

from msgspec.structs import replace

from engine.config.profile import Generation, Prompt
from engine.errors import InputError, QuantDuelError
from engine.protocol.answers import Finished, Generate, Message, Prompted, Render
from engine.protocol.answers import Rendered as RenderedEvent
from engine.protocol.bounds import LONGEST_TEXT
from engine.protocol.failure import Failed, FailureKind
from engine.protocol.loading import Load, Quantize
from engine.protocol.runs import MeasureServed, ServedMeasured
from engine.protocol.scores import Score, TakeReference, Tokenize
from engine.protocol.wire import Event, Task
from engine.worker.served import sampling
from engine.worker.served.adapter import Asked
from engine.worker.served.answer import Answering
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.fold import Progress
from engine.worker.served.load_test.made_up import MadeUp
from engine.worker.served.load_test.run import measure
from engine.worker.served.reads import Cancelled
from engine.worker.served.side import Side, loaded


class Wire(Protocol):
    """The worker's end of the wire: see `engine.worker.wire`."""

    def emit(self, event: Event) -> None:
        """Write one event."""

    def next_command(self) -> tuple[int, Task]:
        """Wait for a command."""

    def is_cancelled(self, request: int) -> bool:
        """Whether a request is no longer wanted."""


def serve(wire: Wire) -> None:
    """Serve for as long as the process lives: the wire ends it."""
    side: Side | None = None
    while True:
        _, command = wire.next_command()
        request = getattr(command, "request", None)
        match command:
            case Load() if side is None:
                with _failures_reported(wire, "not_loaded"):
                    side = loaded(command, wire.emit)
            case Render() if side is not None:
                with _failures_reported(wire, "generation", command.request):
                    _render(wire, side, command)
            case Generate() if side is not None:
                with _failures_reported(wire, "generation", command.request):
                    _generate(wire, side, command)
            case Tokenize() if side is not None:
                with _failures_reported(wire, "generation", command.request):
                    wire.emit(side.scoring.tokenized(command))
            case Score() if side is not None:
                with _failures_reported(wire, "generation", command.request):
                    _score(wire, side, command)
            case MeasureServed() if side is not None:
                with _failures_reported(wire, "generation", command.request):
                    _measure(wire, side, command)
            case _:
                wire.emit(_refusal(command, request, is_loaded=side is not None))


def _refusal(command: Task, request: int | None, *, is_loaded: bool) -> Failed:
    if not is_loaded:
        return Failed(kind="bad_input", message="no model is loaded", request=request)
    if isinstance(command, Load):
        return Failed(kind="bad_input", message="a model is already loaded")
    if isinstance(command, Quantize):
        return Failed(kind="bad_input", message="a server's model cannot be quantized from here")
    message = "a server's model is measured by requests to it"
    if isinstance(command, TakeReference):
        message = "by layer, one worker needs both models, and a server's model is in none"
    return Failed(kind="bad_input", message=message, request=request)


def _render(wire: Wire, side: Side, command: Render) -> None:
    prompt = command.prompt or side.profile.prompt
    with closing(side.connect()) as connection:
        rendered = side.engine.rendered(
            connection, side.model, _with_system(prompt, command.messages), prompt
        )
    if rendered is None:
        raise InputError(f"{side.engine.name} does not say what a conversation becomes")
    wire.emit(RenderedEvent(request=command.request, text=rendered.text, token_ids=rendered.token_ids))


def _generate(wire: Wire, side: Side, command: Generate) -> None:
    prompt = command.prompt or side.profile.prompt
    if not command.messages:
        raise InputError("there is nothing to answer: the conversation is empty")
    if prompt.file is not None:
        raise InputError("a server fills its own template", "expected chat or raw for prompt.template")
    if command.answered and not side.engine.can.ids:
        raise InputError(f"{side.engine.name} takes no tokens to go on after", "ask again")
    messages = _with_system(prompt, command.messages)
    with closing(side.connect()) as connection:
        asked = Asked(
            messages=messages,
            prompt=prompt,
            generation=command.generation,
            rendered=side.engine.rendered(connection, side.model, messages, prompt),
            answered=command.answered,
            cold=command.cold,
        )
        already = _pieces(side, connection, command.answered)
    _require_space(side, asked)
    note = _sampling_note(side, command.generation, lambda: wire.is_cancelled(command.request))
    answering = Answering(side.engine, side.model, side.connect, command, _emitter(wire, side))
    answering.progress.notes += [note] if note else []
    try:
        answering.answer(asked, lambda: wire.is_cancelled(command.request), already)
    finally:
        ended = answering.progress
        side.last = replace_ids(ended, command.answered, already)


def _score(wire: Wire, side: Side, command: Score) -> None:
    wire.emit(side.scoring.scored(command, lambda: wire.is_cancelled(command.request)))


def _measure(wire: Wire, side: Side, command: MeasureServed) -> None:
    if side.made_up is None:
        side.made_up = MadeUp(side.engine, side.model, side.profile.prompt)
    if side.own is not None:
        side.own.look()
    cancelled, emit = lambda: wire.is_cancelled(command.request), _emitter(wire, side)
    measure(side.made_up, side.connect, command, cancelled, emit)


def replace_ids(ended: Progress, answered: tuple[int, ...], already: tuple[str, ...]) -> Progress:
    """What was said, with what it went on after."""
    return Progress(ids=[*answered, *ended.ids], pieces=[*already, *ended.pieces])


def _pieces(side: Side, connection: Connection, answered: tuple[int, ...]) -> tuple[str, ...]:
    """The text of each token of an answer that is gone on with: as it was, or all of it with the first."""
    if not answered:
        return ()
    if tuple(side.last.ids[: len(answered)]) == answered:
        return tuple(side.last.pieces[: len(answered)])
    text = side.engine.text_of(connection, side.model, answered)
    return (text, *("" for _ in answered[1:]))


def _require_space(side: Side, asked: Asked) -> None:
    """InputError where the conversation fills the context: some servers would cut it silently."""
    length, tokens = side.facts.context_length, len(asked.token_ids)
    if length and tokens >= length:
        message = f"the conversation has {tokens} tokens, and the server's context is {length}"
        raise InputError(message, "a shorter conversation, or a server that is started with a longer context")


def _sampling_note(side: Side, generation: Generation, cancelled: Callable[[], bool]) -> str:
    """What a proof says of the sampling; asked once, and not where the server says itself what it used."""
    if generation.temperature == 0 or side.engine.can.echoes_sampling:
        return ""
    if side.sampling_note is None:
        with closing(side.connect()) as connection:
            side.sampling_note = sampling.note(side.engine, side.model, connection, cancelled)
    return side.sampling_note


def _emitter(wire: Wire, side: Side) -> Callable[[Event], None]:
    """Events as they are; the memory of a server of our own is known."""

    def emit(event: Event) -> None:
        if isinstance(event, Prompted) and side.own is not None:
            side.own.look()
        if isinstance(event, Finished | ServedMeasured) and side.own is not None:
            event = replace(event, memory=side.own.memory(None), notes=(*event.notes, *side.own.busy_notes()))
        wire.emit(event)

    return emit


def _with_system(prompt: Prompt, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The conversation led by the profile's system message, where it has none of its own."""
    if prompt.system is None or any(message.role == "system" for message in messages):
        return messages
    return (Message("system", prompt.system), *messages)


@contextmanager
def _failures_reported(wire: Wire, kind: FailureKind, request: int | None = None) -> Iterator[None]:
    """Turn an exception into a Failed event; the log gets the traceback, and no key."""
    try:
        yield
    except Cancelled:
        wire.emit(Failed(kind="cancelled", message="cancelled", request=request))
    except Exception as error:
        if not isinstance(error, QuantDuelError):
            traceback.print_exc()
        wire.emit(_failure(error, kind, request))


def _failure(error: Exception, kind: FailureKind, request: int | None) -> Failed:
    if isinstance(error, InputError):
        kind = "bad_input"
    message = error.message if isinstance(error, QuantDuelError) else f"{type(error).__name__}: {error}"
    if isinstance(error, ServerError):
        message = f"the server {message}"
    hint = error.hint if isinstance(error, QuantDuelError) else ""
    return Failed(kind=kind, message=_printable(message), hint=_printable(hint), request=request)


def _printable(text: str) -> str:
    return text.encode(errors="replace").decode()[:LONGEST_TEXT]
