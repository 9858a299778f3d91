"""One answer of a server as a worker's events: asked, read with the network's stamps, and its end judged.

An answer is complete with a finish reason and not without. Before its first byte it may be asked for again;
afterwards never, for that would be another answer: it is cut off, and what came is kept.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field

import httpx2
import msgspec
from msgspec.structs import replace

from engine.ending import STOP_STRING
from engine.errors import GenerationError
from engine.protocol import (
    Decoded,
    Event,
    Finished,
    FinishReason,
    Generate,
    Prompted,
    Resumed,
    ServedFigures,
    ThinkMarks,
)
from engine.token_ids import sha256
from engine.worker.served.adapter import Adapter, Asked, Piece
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.events import TooLong, events
from engine.worker.served.reads import SILENCE_S, Cancelled, End, Head, Read, Reads

Emit = Callable[[Event], None]
TRIES = 3
PASSING = frozenset({0, 429, 503})  # not reached, or asked to come back
AFTERWARDS_S = 5.0
CONVERSATION = "X-Conversation-Id"
LONGEST_WAIT_S = 30.0
THINK = ThinkMarks(open="<think>", close="</think>")


@dataclass(slots=True)
class Progress:
    """An answer so far."""

    ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    tokens: int = 0
    counted: bool = True
    """The server says with every event how many tokens there are."""
    thinks: bool | None = None
    """Within thoughts that the server took out of the text; None before any came."""
    finish: FinishReason | None = None
    finish_ns: int = 0
    figures: ServedFigures | None = None
    notes: list[str] = field(default_factory=list)
    most_at_once: int = 1
    last_ns: int = 0
    resumed: bool = False
    """The connection dropped meanwhile: the stamps hold the gap."""


class Answering:
    """One Generate command; `connect` makes connections to the server."""

    def __init__(
        self, engine: Adapter, model: str, connect: Callable[[], Connection], command: Generate, emit: Emit
    ) -> None:
        self._engine, self._model, self._connect = engine, model, connect
        self._command, self._emit = command, emit
        self._conversation = secrets.token_hex(8)
        self.progress = Progress()
        self._why = ""  # the stream ended

    def answer(self, asked: Asked, cancelled: Callable[[], bool], already: tuple[str, ...] = ()) -> None:
        """From the request to Finished; GenerationError where there is none, or no whole one.

        `already` are the pieces of an answer that is gone on with.
        """
        with closing(self._connect()) as connection:
            others = self._engine.others(connection)
            connection.warm(self._engine.ping)  # no connecting and no key exchange on the answer's clock
            try:
                self._read(connection, asked, cancelled, already)
            except Cancelled:
                self._stop()
                self._finish("cancelled", None)
                return
            except GenerationError:
                self._stop()
                raise
        busy = None if others is None else others > 0 or self._still_busy()
        self._finish(self._complete(), busy)

    def _read(
        self,
        connection: Connection,
        asked: Asked,
        cancelled: Callable[[], bool],
        already: tuple[str, ...],
    ) -> None:
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
                self._fold(connection, self._bytes(items, cancelled), first)
                return
            error = first.error if isinstance(first, End) else None
            if not (left and isinstance(first, End) and error and error.status in PASSING):
                raise error or ServerError("ended without an answer")
            self._wait(first.retry_after_s, cancelled)

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

    def _fold(self, connection: Connection, reads: Iterator[Read], head: Head) -> None:
        try:
            for ns, data in events(reads, self._engine.framing):
                piece = self._engine.piece(data)
                if piece is not None:
                    self._take(ns, piece, connection)
        except (msgspec.MsgspecError, RecursionError) as error:
            if self.progress.finish is None:
                raise self._cut(f"the server sent what is no answer ({str(error)[:100]})") from None
        except TooLong as error:
            raise self._cut(str(error)) from None
        if self.progress.finish is None:
            kind = head.content_type.partition(";")[0]
            odd = "" if self.progress.pieces or "stream" in kind else f" (it sent {kind or 'nothing'})"
            raise self._cut(
                f"the server {self._why}" if self._why else f"the stream ended without a finish reason{odd}"
            )

    def _take(self, ns: int, piece: Piece, connection: Connection) -> None:
        found = self.progress
        if piece.error:
            raise self._cut(f"the server failed: {connection.clean(piece.error)}")
        text = self._with_marks(piece)
        if piece.ids or text or (found.counted and (piece.total or 0) > found.tokens):
            self._tell(ns, piece, text)
        found.notes += piece.notes
        if piece.finish:
            found.finish, found.finish_ns = piece.finish, ns
            found.notes += [f"{STOP_STRING}: {piece.stopped_by!r}"] if piece.stopped_by else []
        if piece.figures:
            found.figures = piece.figures

    def _with_marks(self, piece: Piece) -> str:
        """The text, with marks around thoughts that the server's parser took out."""
        found, text = self.progress, piece.text
        if piece.thought and not found.thinks:
            found.thinks = True
            return THINK.open + piece.thought
        if text and found.thinks:
            found.thinks = False
            return f"{piece.thought}{THINK.close}{text}"
        return piece.thought + text

    def _tell(self, ns: int, piece: Piece, text: str) -> None:
        """An event a token; where several came at once their text is with the last."""
        found = self.progress
        if piece.ids is not None:
            ids: list[int | None] = list(piece.ids)
        elif piece.total is not None and found.counted:
            ids = [None] * max(0, piece.total - found.tokens)
        else:
            found.counted, ids = False, [None]
        found.most_at_once = max(found.most_at_once, len(ids))
        tokens = 1 if found.counted else None
        for number, token_id in enumerate(ids):
            self._decoded(ns, token_id, text if number == len(ids) - 1 else "", tokens)
        if text and not ids:  # held back from tokens that were counted before
            self._decoded(ns, None, text, 0)

    def _decoded(self, ns: int, token_id: int | None, text: str, tokens: int | None) -> None:
        found = self.progress
        found.tokens += 1 if tokens is None else tokens
        if token_id is not None:
            found.ids.append(token_id)
        found.pieces.append(text)
        found.last_ns = ns
        request = self._command.request
        self._emit(Decoded(request=request, token_id=token_id, text=text, tokens=tokens, ns=ns))

    def _complete(self) -> FinishReason:
        """The end's reason, after the tokens that ended the answer and have no text."""
        found = self.progress
        if found.finish is None:
            raise AssertionError("an answer without an end was cut off before")
        by_server = found.figures.tokens if found.figures else None
        missing = 0 if by_server is None else by_server - found.tokens
        if missing > 0 and found.finish == "stop":
            for _ in range(missing if found.counted else 1):
                self._decoded(found.finish_ns, None, "", 1 if found.counted else None)
        return found.finish

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

    def _still_busy(self) -> bool:
        """Whether it answers others; the slot of this very answer may take a moment to be free."""
        with closing(self._connect()) as connection:
            for _ in range(3):
                if not self._engine.others(connection):
                    return False
                time.sleep(0.05)
        return True

    def _stop(self) -> None:
        """A stream that outlives its connection is ended by name."""
        if self._engine.can.resume:
            with closing(self._connect()) as connection, suppress(httpx2.HTTPError):
                connection.client.delete(self._stream_path)

    @property
    def _stream_path(self) -> str:
        return f"/v1/stream?conv_id={self._conversation}"

    def _cut(self, why: str) -> GenerationError:
        came = self.progress.tokens
        pieces = f"{came} {'token' if self.progress.counted else 'piece'}{'' if came == 1 else 's'}"
        message = f"cut off after {pieces}: {why}" if came else why
        return GenerationError(message, "what came is kept; ask again for a whole answer" if came else "")
