"""An answer's tokens out of the bytes of its stream, each with the stamp of its read, and how it ended.

The one reading of a stream: of an answer as it comes, and of one that is read afterwards. Knows neither
connections nor how often something is asked.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from engine.ending import STOP_STRING
from engine.errors import GenerationError
from engine.protocol.answers import Decoded, FinishReason, ServedFigures
from engine.protocol.model import ThinkMarks
from engine.worker.served.adapter import Adapter, Piece
from engine.worker.served.events import TooLong, events
from engine.worker.served.reads import Read

THINK = ThinkMarks(open="<think>", close="</think>")
MOST_AT_ONCE = 1 << 16  # tokens that an event may count; each becomes an event of ours
LARGEST = 1 << 53


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


class Fold:
    """One answer, told as Decoded events while it is read."""

    def __init__(self, engine: Adapter, request: int, emit: Callable[[Decoded], None]) -> None:
        self._engine, self._request, self._emit = engine, request, emit
        self.progress = Progress()

    def read(self, reads: Iterable[Read], clean: Callable[[str], str]) -> None:
        """All of a stream; GenerationError where it is none of this engine's, or says that it failed.

        `clean` makes a server's words fit to be shown.
        """
        try:
            for ns, data in events(reads, self._engine.framing):
                piece = self._engine.piece(data)
                if piece is not None and piece.error:
                    raise self.cut(f"the server failed: {clean(piece.error)}")
                if piece is not None:
                    self._take(ns, piece)
        except (msgspec.MsgspecError, RecursionError) as error:
            if self.progress.finish is None:
                raise self.cut(f"the server sent what is no answer ({str(error)[:100]})") from None
        except TooLong as error:
            raise self.cut(str(error)) from None

    def end(self, why: str, content_type: str) -> FinishReason:
        """The end's reason, after the tokens that ended the answer and have no text.

        GenerationError where there was no end, by `why` the bytes ceased to come, or by what they are.
        """
        found = self.progress
        if found.finish is None:
            kind = content_type.partition(";")[0]
            odd = "" if found.pieces or "stream" in kind else f" (it sent {kind or 'nothing'})"
            raise self.cut(f"the server {why}" if why else f"the stream ended without a finish reason{odd}")
        by_server = found.figures.tokens if found.figures else None
        missing = 0 if by_server is None else self._believed(by_server - found.tokens)
        if missing > 0 and found.finish == "stop":
            for _ in range(missing if found.counted else 1):
                self._decoded(found.finish_ns, None, "", 1 if found.counted else None)
        return found.finish

    def cut(self, why: str) -> GenerationError:
        """What an answer without an end is."""
        came = self.progress.tokens
        pieces = f"{came} {'token' if self.progress.counted else 'piece'}{'' if came == 1 else 's'}"
        message = f"cut off after {pieces}: {why}" if came else why
        return GenerationError(message, "what came is kept; ask again for a whole answer" if came else "")

    def _take(self, ns: int, piece: Piece) -> None:
        found = self.progress
        text = self._with_marks(piece)
        if piece.ids or text or (found.counted and (piece.total or 0) > found.tokens):
            self._tell(ns, piece, text)
        found.notes += piece.notes
        if piece.finish:
            found.finish, found.finish_ns = piece.finish, ns
            found.notes += [f"{STOP_STRING}: {piece.stopped_by!r}"] if piece.stopped_by else []
        if piece.figures:
            found.figures = possible(piece.figures)

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
            if not all(0 <= each < 1 << 31 for each in piece.ids):
                raise self.cut("the server sent token ids that no vocabulary has")
        elif piece.total is not None and found.counted:
            ids = [None] * max(0, self._believed(piece.total - found.tokens))
        else:
            found.counted, ids = False, [None]
        found.most_at_once = max(found.most_at_once, len(ids))
        tokens = 1 if found.counted else None
        for number, token_id in enumerate(ids):
            self._decoded(ns, token_id, text if number == len(ids) - 1 else "", tokens)
        if text and not ids:  # held back from tokens that were counted before
            self._decoded(ns, None, text, 0)

    def _believed(self, tokens: int) -> int:
        """So many tokens that are only counted."""
        if tokens > MOST_AT_ONCE:
            raise self.cut(f"the server counts more than {MOST_AT_ONCE} tokens that did not come")
        return tokens

    def _decoded(self, ns: int, token_id: int | None, text: str, tokens: int | None) -> None:
        found = self.progress
        found.tokens += 1 if tokens is None else tokens
        if token_id is not None:
            found.ids.append(token_id)
        found.pieces.append(text)
        found.last_ns = ns
        self._emit(Decoded(request=self._request, token_id=token_id, text=text, tokens=tokens, ns=ns))


def possible(figures: ServedFigures) -> ServedFigures:
    """Without what no figure can be, a count or a speed below 0 or beyond all numbers."""
    names = ("tokens", "prompt_tokens", "reused_tokens", "prefill_tok_s", "decode_tok_s")
    said = {name: getattr(figures, name) for name in names}
    return replace(
        figures, **{name: None for name, value in said.items() if not 0 <= (value or 0) <= LARGEST}
    )
