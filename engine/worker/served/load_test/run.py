"""A measured run of requests to a server: prompts made up, asked at once, folded into stamps afterwards."""

from collections.abc import Callable
from contextlib import closing

from engine.errors import GenerationError, InputError
from engine.protocol.answers import Decoded
from engine.protocol.bounds import LONGEST_TEXT
from engine.protocol.runs import MeasureServed, ServedAdvanced, ServedAnswer, ServedAnswered, ServedMeasured
from engine.protocol.wire import Event
from engine.worker.served.adapter import Adapter, still_busy
from engine.worker.served.connection import Connection
from engine.worker.served.fold import Fold
from engine.worker.served.load_test.made_up import MadeUp
from engine.worker.served.load_test.many import Many, Taken
from engine.worker.served.reads import request

MOST_AT_ONCE = 1024  # connections of one process
UNASKED = "the server was gone before this was asked"


def measure(
    made_up: MadeUp,
    connect: Callable[[], Connection],
    command: MeasureServed,
    cancelled: Callable[[], bool],
    emit: Callable[[Event], None],
) -> None:
    """From the first request to ServedMeasured, the answers before it.

    InputError, ServerError or Cancelled where nothing can be asked, or no more is wanted.
    """
    number, run, engine = command.request, command.run, made_up.engine
    if not 1 <= run.at_once <= MOST_AT_ONCE:
        raise InputError(f"{run.at_once} requests at once: from 1 to {MOST_AT_ONCE} can be asked")
    with closing(connect()) as connection:
        bodies = [engine.request(made_up.model, each) for each in made_up.asked(connection, run)]
        others = engine.others(connection)
        many = Many(connect, engine.ping, [request("POST", *each) for each in bodies], run.at_once)
        taken, client = many.run(cancelled, lambda done: emit(ServedAdvanced(request=number, done=done)))
        answers = [_folded(engine, each, connection.clean) for each in taken]
    said = [each.figures.prompt_tokens for each in answers if each.figures]
    made_up.learn(run, [tokens for tokens in said if tokens])  # some leave it out
    for answer in answers:
        emit(ServedAnswered(request=number, answer=answer))
    emit(
        ServedMeasured(
            request=number,
            cpu_share=client.cpu_share,
            late_ms=client.late_ms,
            contended=None if others is None else others > 0 or still_busy(engine, connect),
        )
    )


def _folded(engine: Adapter, taken: Taken, clean: Callable[[str], str]) -> ServedAnswer:
    """What came, as tokens with stamps."""
    stamps: list[int] = []

    def take(event: Decoded) -> None:
        stamps.extend([event.ns] * (1 if event.tokens is None else event.tokens))

    fold, failure = Fold(engine, 0, take), ""
    try:
        fold.read(taken.reads, clean)
        fold.end(taken.error.message if taken.error else "", taken.content_type)
    except GenerationError as error:
        failure = error.message if taken.ended else UNASKED
    return ServedAnswer(
        sent_ns=taken.sent_ns,
        token_ns=tuple(stamps),
        counted=fold.progress.counted,
        figures=fold.progress.figures,
        failure=failure[:LONGEST_TEXT],
        connected=taken.connected,
    )
