"""A given text through a server's model: its tokens, what is said of each, how far that is from a reference.

Owns what is believed of a server's log-probabilities. The divergence is a lower bound, for a server tells the
likeliest tokens alone (`engine.stats.lower_bound`); what is said of the text's own tokens is exact. Asks
through an adapter; knows no engine, and no torch.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import msgspec

from engine.errors import InputError
from engine.evaluation.settings import text_name
from engine.protocol.scores import Logits, Passage, Place, Score, Scored, Tokenize, Tokenized
from engine.stats.lower_bound import USUAL_TOP, at_least
from engine.worker.served.adapter import Adapter, Position
from engine.worker.served.connection import Connection, ServerError
from engine.worker.served.reads import reply
from engine.worker.served.reference import Reference, written
from engine.worker.texts.whole import token_ids, whole

ALMOST = 1e-3  # by which a sum of rounded probabilities may be above 1, and a logarithm above 0
NOTHING = -9000.0  # as a logarithm: vLLM writes -9999 for a probability of 0, llama.cpp float32's lowest
BYTES_A_TOKEN, BYTES_AROUND = 1 << 10, 1 << 20  # of what a server says


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Whom to ask."""

    engine: Adapter
    model: str
    connect: Callable[[], Connection]
    context_length: int
    vocabulary: int
    """0 where the server does not say."""
    top_k: int
    """The most likeliest tokens that it tells at a position."""

    def tokenized(self, command: Tokenize) -> Tokenized:
        """A text by the server's own tokenizer: equal ids for a text are what a comparison stands on."""
        self._require()
        text = whole(command.text) if command.content is None else command.content
        with closing(self.connect()) as connection:

            def plain(part: str) -> tuple[int, ...]:
                return self.engine.tokenized(connection, self.model, part, begins=False)

            ids = token_ids(plain, text, command.tokens)
            led = self.engine.tokenized(connection, self.model, "a", begins=True)
            letter = plain("a")
        beginning = led[: led.index(letter[0])] if letter and letter[0] in led else ()
        if len(ids) + len(beginning) < 2:
            raise InputError(f"the text {text_name(command.text)} has too few tokens to score any")
        return Tokenized(request=command.request, token_ids=tuple(ids), beginning=beginning)

    def scored(self, command: Score, cancelled: Callable[[], bool]) -> Scored:
        """What the command asks for; Cancelled where it is no longer wanted."""
        self._require()
        passage = command.passage
        self._require_passage(command)
        top = self._top(command)
        with closing(self.connect()) as connection:

            def ask(path: str, body: dict[str, object]) -> bytes:
                most_bytes = BYTES_AROUND + BYTES_A_TOKEN * (top + 1) * len(passage.token_ids)
                return reply(connection, path, body, cancelled, most_bytes)

            try:
                said = self.engine.scored(ask, self.model, passage, top)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise ServerError(f"sent what is no score ({str(error)[:100]})", status=200) from None
        found = [self._believed(position, top) for position in said]
        return self._event(command, found)

    def _require(self) -> None:
        """InputError where the server scores nothing."""
        if not self.top_k:
            message = f"{self.engine.name} scores no text that is given to it: it only answers"
            raise InputError(
                message, "eval and the lens need a model in a worker, vLLM, SGLang or llama-server"
            )

    def _require_passage(self, command: Score) -> None:
        passage = command.passage
        tokens, length = len(passage.token_ids), self.context_length
        if command.layer is not None:
            raise InputError("a server's model gives no layers")
        if not 1 <= passage.first < tokens:
            raise InputError(f"there is nothing to score: token {passage.first} of {tokens}")
        if length and tokens > length:
            hint = "a smaller --window, or a server that is started with a longer context"
            raise InputError(f"{tokens} tokens do not fit the server's context of {length}", hint)

    def _top(self, command: Score) -> int:
        """How many likeliest tokens are asked for at each position."""
        wanted = command.passage.top or 1
        if command.write is not None:
            wanted = max(wanted, command.write.kept)
        if command.reference is not None:
            wanted = max(wanted, command.reference.place.kept or USUAL_TOP)
        return min(wanted, self.top_k)

    def _believed(self, said: Position, top: int) -> Position:
        """The position with finite logarithms, the likeliest token first; ServerError for what is none."""
        known = {each: min(value, 0.0) for each, value in said.likeliest.items() if value > NOTHING}
        own = said.log_prob if said.log_prob > NOTHING else -math.inf
        whole = known | {said.token_id: own}
        for token_id, value in (said.likeliest | {said.token_id: said.log_prob}).items():
            if math.isnan(value) or value > ALMOST:
                raise _lie(f"{value:g} for token {token_id}, and a logarithm of a probability is at most 0")
        if abs(known.get(said.token_id, own) - own) > ALMOST:
            raise _lie(f"two probabilities for token {said.token_id}")
        if not all(0 <= each < (self.vocabulary or 1 << 31) for each in whole):
            raise _lie("a token that its vocabulary has not")
        if not known or len(known) > top + 1:
            raise _lie(f"{len(known)} likeliest tokens where {top} were asked for")
        if (total := math.fsum(map(math.exp, whole.values()))) > 1 + ALMOST:
            raise _lie(f"probabilities whose sum is {total:.3f}")
        if own == -math.inf:
            raise ServerError(f"gives token {said.token_id} of the text no probability", status=200)
        likeliest = dict(sorted(known.items(), key=lambda pair: -pair[1]))
        return Position(
            token_id=said.token_id, log_prob=min(own, 0.0), likeliest=likeliest, pieces=said.pieces
        )

    def _event(self, command: Score, found: Sequence[Position]) -> Scored:
        passage, place = command.passage, command.write
        compared = _compared(found, command.reference)
        top_ids = tuple(tuple(each.likeliest)[: passage.top] for each in found) if passage.top else ()
        return Scored(
            request=command.request,
            log_probs=tuple(each.log_prob for each in found),
            first_choices=tuple(next(iter(each.likeliest)) for each in found),
            klds=compared.klds,
            left_out=compared.left_out,
            margins=compared.margins,
            reference_margins=compared.reference_margins,
            reference_rounding=compared.reference_rounding,
            top_ids=top_ids,
            top_log_probs=tuple(
                tuple(each.likeliest[token_id] for token_id in ids)
                for each, ids in zip(found, top_ids, strict=False)
            ),
            pieces=_pieces(found, top_ids),
            logits=self._written(place, found) if place else None,
            read_tokens=_read(passage),
        )

    def _written(self, place: Place, found: Sequence[Position]) -> Logits:
        written(place, [each.likeliest for each in found])
        return Logits(place=place, positions=len(found), vocabulary=self.vocabulary, dtype="float32")


@dataclass(frozen=True, slots=True)
class _Compared:
    """See `Scored`."""

    klds: tuple[float, ...] = ()
    left_out: tuple[float, ...] = ()
    margins: tuple[float, ...] = ()
    reference_margins: tuple[float, ...] = ()
    reference_rounding: tuple[float, ...] = ()


def _compared(found: Sequence[Position], logits: Logits | None) -> _Compared:
    """The positions against a reference. Margins only where both tokens are told at every position."""
    if logits is None:
        return _Compared()
    klds, margins = [], []
    reference = Reference(logits, len(found))
    rows = list(reference.rows([{**each.likeliest, each.token_id: each.log_prob} for each in found]))
    for row in rows:
        klds.append(at_least(row.log_p, row.log_q))
        if row.margin is not None:
            margins.append((row.margin, row.reference_margin, row.rounding))
    whole = margins if len(margins) == len(rows) else []
    return _Compared(*map(tuple, zip(*klds, strict=True)), *map(tuple, zip(*whole, strict=True)))


def _pieces(found: Sequence[Position], top_ids: Sequence[tuple[int, ...]]) -> dict[int, str]:
    """The text of every token that is reported, where the likeliest were asked for."""
    pieces: dict[int, str] = {}
    for position, ids in zip(found, top_ids, strict=False):
        pieces |= {each: position.pieces.get(each, "") for each in (position.token_id, *ids)}
    return pieces


def _read(passage: Passage) -> int:
    """Tokens that had not been read for the passage before."""
    return len(passage.token_ids) - (passage.first if passage.continues else 0)


def _lie(what: str) -> ServerError:
    return ServerError(f"sent log-probabilities that are none: {what}", status=200)
