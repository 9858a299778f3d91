"""One side's answer, folded from its events. Pure: knows no session and no other side."""

from collections.abc import Sequence

from msgspec.structs import replace

from engine.config.profile import Prompt
from engine.duel import thinking
from engine.duel.divergence import Tokens
from engine.duel.thinking import Parts
from engine.ending import ending_text
from engine.protocol.answers import Decode, Decoded, Finished, FinishReason, Message, Prompted, Resumed
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded
from engine.protocol.model import Memory, ModelInfo, ThinkMarks
from engine.protocol.wire import Event
from engine.stats import bottleneck
from engine.stats.bottleneck import Reached
from engine.stats.metrics import Metrics, Timeline


class Answer:
    """One side's answer, folded from its events."""

    def __init__(
        self, *, contended: bool = False, info: ModelInfo | None = None, limit: int | None = None
    ) -> None:
        self.timeline = Timeline()
        self.info = info
        """The model that answers; its worker may have ended since."""
        self.token_ids: list[int] = []
        """Of all tokens whose id is known."""
        self.ids: list[int | None] = []
        """Of each piece; None where a server does not say."""
        self.pieces: list[str] = []
        """The text of each token; what the detokenizer still held at the end is in `text` alone."""
        self.text = ""
        self.messages: tuple[Message, ...] = ()
        """What was asked: the conversation with its last message."""
        self.prompt: Prompt | None = None
        """How that became text; None where the side was not asked yet."""
        self.prompt_sha256 = ""
        self.prompt_notes: tuple[str, ...] = ()
        self.finish_reason: FinishReason | None = None
        self.memory: Memory | None = None
        self.step_bytes: int | None = None
        self.decode: Decode | None = None
        self.end_notes: tuple[str, ...] = ()
        self.failure: Failed | None = None
        self.think: ThinkMarks | None = None
        """How the model marks thoughts; None for one that does not think."""
        self.resumed = 0
        """How many of its tokens were generated before it was cut and resumed."""
        self._contended, self._limit = contended, limit

    def add(self, event: Event) -> None:
        """Take one event of this side."""
        self.timeline.add(event)
        match event:
            case Prompted(sha256=sha256, notes=notes, think=think):
                self.prompt_sha256, self.prompt_notes, self.think = sha256, notes, think
            case Resumed(token_ids=token_ids, pieces=pieces):
                self.ids, self.token_ids = list(token_ids), list(token_ids)
                self.pieces, self.text = list(pieces), "".join(pieces)
                self.resumed = len(token_ids)
                self._limit = None if self._limit is None else self._limit + len(token_ids)
            case Decoded(token_id=token_id, text=text):
                self.ids.append(token_id)
                self.token_ids += [] if token_id is None else [token_id]
                self.pieces.append(text)
                self.text += text
            case Finished(reason=reason, memory=memory, text=text):
                self.finish_reason, self.memory = reason, memory
                self.step_bytes, self.decode, self.end_notes = event.step_bytes, event.decode, event.notes
                self.text += text
            case Loaded(info=info):
                self.info = info
            case Failed():
                self.failure = event

    @property
    def tokens(self) -> Tokens:
        """Its tokens, to be compared with another answer's."""
        return Tokens(self.ids, self.pieces)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.finish_reason is not None or self.failure is not None

    @property
    def parts(self) -> Parts:
        """Its thoughts, and what it says after them."""
        return thinking.parts(self.text, self.think, complete=self.ended)

    @property
    def parts_to_resume(self) -> Parts:
        """What it begins with where it is gone on with: its tokens as a part of an answer."""
        return thinking.parts("".join(self.pieces), self.think, complete=False)

    @property
    def thought_tokens(self) -> int:
        """How many of its tokens are thoughts and the marks around them."""
        if self.think is None:
            return 0
        first = thinking.first_said(self.pieces, found := self.parts)
        return (len(self.pieces) if found.thoughts else 0) if first is None else first

    @property
    def not_begun(self) -> bool:
        """Whether it was cancelled before its prompt was sent."""
        is_cancelled = self.failure is not None and self.failure.kind == "cancelled"
        return is_cancelled and self.timeline.received_ns is None and not self.ids

    @property
    def stands(self) -> bool:
        """Whether the conversation goes on with what it says: no fault ended it, though it may be cut."""
        return self.failure is None or self.failure.kind == "cancelled"

    @property
    def is_cut(self) -> bool:
        """Whether it ended before its natural end and can be resumed: not where the context is full."""
        is_early = self.ended and self.stands and self.finish_reason != "stop"
        return is_early and bool(self.ids) and None not in self.ids and not self._is_full

    @property
    def ending(self) -> str:
        """Why it ended, where that was not its natural end and no failure."""
        return "" if self.failure else ending_text(self.finish_reason, self._new_tokens, self._limit)

    @property
    def _new_tokens(self) -> int:
        """All that were generated, before it was resumed too."""
        return self.resumed + self.timeline.new_tokens

    @property
    def _is_full(self) -> bool:
        """Whether there was no room for as many tokens as were asked for."""
        return self.finish_reason == "length" and self._limit is not None and self._new_tokens < self._limit

    @property
    def notes(self) -> tuple[str, ...]:
        """What happened to the prompt, and what slowed the answer."""
        return (*self.prompt_notes, *self.end_notes)

    @property
    def metrics(self) -> Metrics:
        """The figures so far."""
        found = self.timeline.metrics(contended=self._contended)
        if self.think is None or self.resumed:
            return found
        first, stamps = thinking.first_said(self.pieces, self.parts), self.timeline.token_ns
        received_ns = self.timeline.received_ns
        if first == 0:
            return found
        if first is None or received_ns is None or first >= len(stamps):
            return replace(found, thought_tokens=self.thought_tokens)
        after_ms = (stamps[first] - received_ns) / 1e6
        if not found.counted:  # a server's pieces, which are no tokens
            return replace(found, answer_ttft_ms=after_ms)
        speed = None if found.decode_tok_s is None else _speed(stamps[first:])
        before = None if found.decode_tok_s is None else _speed(stamps[:first])
        return replace(
            found, thought_tokens=first, thought_tok_s=before, answer_ttft_ms=after_ms, answer_tok_s=speed
        )

    def reached(self, info: ModelInfo) -> Reached | None:
        """The share of the bandwidth that the decoding reached, and what bounds it."""
        return bottleneck.reached(info, self.step_bytes, self.metrics.decode_tok_s, info.copy_bytes_s)


def _speed(stamps: Sequence[int]) -> float | None:
    """Tokens a second between the first stamp and the last; None where there is no time between them.

    Those with the first stamp are no steps.
    """
    span_ns = stamps[-1] - stamps[0] if stamps else 0
    return (len(stamps) - stamps.count(stamps[0])) / span_ns * 1e9 if span_ns else None
