"""One answer of a server as a worker's events: asked, read with the network's stamps, and its end judged.

An answer is complete with a finish reason and not without. Before its first byte it may be asked for again;
afterwards never, for that would be another answer: it is cut off, and what came is kept.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import httpx2
from msgspec.structs import replace

from engine.errors import GenerationError
from engine.protocol.answers import Finished, FinishReason, Generate, Prompted, Resumed, ServedFigures
from engine.protocol.wire import Event
from engine.token_ids import sha256
from engine.worker.served.adapter import Adapter, Asked, still_busy
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.fold import THINK, Fold
from engine.worker.served.reads import SILENCE_S, Cancelled, End, Head, Read, Reads

Emit = Callable[[Event], None]
TRIES = 3
PASSING = frozenset({0, 429, 503})  # not reached, or asked to come back
AFTERWARDS_S = 5.0
CONVERSATION = "X-Conversation-Id"
LONGEST_WAIT_S = 30.0


class Answering:
    """One Generate command; `connect` makes connections to the server."""

    def __init__(
        self, engine: Adapter, model: str, connect: Callable[[], Connection], command: Generate, emit: Emit
    ) -> None:
        self._engine, self._model, self._connect = engine, model, connect
        self._command, self._emit = command, emit
        self._conversation = secrets.token_hex(8)
        self._fold = Fold(engine, command.request, emit)
        self.progress = self._fold.progress
        self._why = ""  # the stream ended

    def answer(self, asked: Asked, cancelled: Callable[[], bool], already: tuple[str, ...] = ()) -> None:
        """From the request to Finished; GenerationError where there is none, or no whole one.

        `already` are the pieces of an answer that is gone on with.
        """
        with closing(self._connect()) as connection:
            others = self._engine.others(connection)
            connection.warm(self._engine.ping)  # no connecting and no key exchange on the answer's clock
            try:
                reason = self._read(connection, asked, cancelled, already)
            except Cancelled:
                self._stop()
                self._finish("cancelled", None)
                return
            except GenerationError:
                self._stop()
                raise
        busy = None if others is None else others > 0 or still_busy(self._engine, self._connect)
        self._finish(reason, busy)

    def _read(
        self,
        connection: Connection,
        asked: Asked,
        cancelled: Callable[[], bool],
        already: tuple[str, ...],
    ) -> FinishReason:
        path, body = self._engine.request(self._model, asked)
        headers = {CONVERSATION: self._conversation} if self._engine.can.resume else {}
        for left in reversed(range(TRIES)):
            reads = Reads(connection, "POST", path, body, headers)
            self._begin(asked, reads.sent_ns)
            if asked.answered and left == TRIES - 1:
                request, ids = self._command.request, asked.answered
                self._emit(Resumed(request=request, token_ids=ids, pieces=already))
            items = reads.items(cancelled, self._patience_s)
            first = next(items)
            if isinstance(first, Head):
                self._fold.read(self._bytes(items, cancelled), connection.clean)
                return self._fold.end(self._why, first.content_type)
            error = first.error if isinstance(first, End) else None
            if not (left and isinstance(first, End) and error and error.status in PASSING):
                raise error or ServerError("ended without an answer")
            self._wait(first.retry_after_s, cancelled)
        raise AssertionError("the last try answers or raises")

    def _bytes(self, items: Iterator[Head | Read | End], cancelled: Callable[[], bool]) -> Iterator[Read]:
        """The reads; where the connection drops and the server can, those of the stream's rest."""
        came, tries = 0, TRIES if self._engine.can.resume else 0
        while True:
            end = End()
            for item in items:
                if isinstance(item, Read):
                    came, tries = came + len(item.data), TRIES if self._engine.can.resume else 0
                    yield item
                elif isinstance(item, End):
                    end = item
            self._why = self._why or (end.error.message if end.error else "")  # the first is the reason
            if self.progress.finish or tries == 0:
                return
            tries -= 1
            self.progress.resumed = True
            fresh = self._connect()
            rest = Reads(fresh, "GET", f"{self._stream_path}&from={came}")
            items = rest.items(cancelled, self._patience_s)

    def _patience_s(self) -> float:
        """How long silence may last: after the end of an answer there is only its sum to come."""
        return AFTERWARDS_S if self.progress.finish else SILENCE_S

    def _begin(self, asked: Asked, sent_ns: int) -> None:
        """What is asked; again for another try, whose clock begins anew."""
        number, rendered, ids = self._command.request, asked.rendered, asked.token_ids
        within = bool(rendered and rendered.text.rstrip().endswith(THINK.open))
        unsent = self._engine.unsent(asked.generation, asked.prompt)
        notes = [f"{name} is not sent: the server has no such setting" for name in unsent]
        if not self._engine.can.ids:
            notes.append("the server does not say which tokens it read: equal input is not proved")
        if asked.cold and not self._engine.can.cold:
            notes.append("the server may have kept the prompt from before: TTFT is of a warm one")
        self._emit(
            Prompted(
                request=number,
                tokens=len(ids),
                sha256=sha256(ids) if rendered else "",
                notes=tuple(notes),
                think=replace(THINK, within=within),
                ns=sent_ns,
            )
        )

    def _wait(self, asked_s: float | None, cancelled: Callable[[], bool]) -> None:
        until_s = time.monotonic() + min(LONGEST_WAIT_S, 0.2 if asked_s is None else asked_s)
        while time.monotonic() < until_s:
            if cancelled():
                raise Cancelled
            time.sleep(0.02)

    def _finish(self, reason: FinishReason, contended: bool | None) -> None:
        found = self.progress
        figures = replace(found.figures or ServedFigures(), contended=contended, interrupted=found.resumed)
        self._emit(
            Finished(
                request=self._command.request,
                reason=reason,
                memory=None,
                served=figures,
                notes=tuple(self._notes(reason, figures)),
            )
        )

    def _notes(self, reason: FinishReason, figures: ServedFigures) -> Iterator[str]:
        found = self.progress
        yield from found.notes
        if reason == "cancelled":
            return
        if found.resumed:
            yield "the connection dropped and the stream was resumed: only the server's clock has a speed"
        if found.most_at_once > 1:
            yield f"up to {found.most_at_once} tokens came at once: no time between tokens"
        if figures.tokens is None:
            yield "the server does not count tokens: no speed of decoding"
        if figures.reused_tokens is None:
            yield "the server does not say what it kept of the prompt: TTFT may be of a warm one"

    def _stop(self) -> None:
        """A stream that outlives its connection is ended by name."""
        if self._engine.can.resume:
            with closing(self._connect()) as connection, suppress(httpx2.HTTPError):
                connection.client.delete(self._stream_path)

    @property
    def _stream_path(self) -> str:
        return f"/v1/stream?conv_id={self._conversation}"
