"""Models read: loads a side, has it tokenize the text and score pieces of it; counts, and reports progress.

Knows sides and pieces; who reads what when is the business of `run`.
"""

import time
from collections.abc import Callable, Sequence

from engine.evaluation.settings import DECODE_AFTER, DECODE_BEFORE, Settings
from engine.evaluation.side import Side
from engine.evaluation.windows import Piece, Text, in_windows
from engine.jobs.events import Advanced, JobEvent
from engine.jobs.pace import Pace
from engine.protocol.failure import Failed
from engine.protocol.scores import Logits, Place, Scored, Tokenized
from engine.stats.fidelity import Scores
from engine.units import speed_text

OTHER_TOKENS = "its tokenizer differs: its perplexity is over its own tokens and does not compare; no KLD"
OTHER_VOCABULARY = (
    "its logits are of more or fewer tokens than the reference's (a padded vocabulary?): no KLD"
)


class Reading:
    """What all sides of an eval have in common while they read."""

    def __init__(self, settings: Settings, emit: Callable[[JobEvent], None], sides: Sequence[Side]) -> None:
        """`sides` are all, whose processes are ours."""
        self._settings, self._emit, self._sides = settings, emit, sides
        self._pace = Pace()

    def expect(self, text: Text, passes: int) -> None:
        """Set how much is still to be read."""
        self._pace.left = float(passes * text.tokens_to_read)

    async def open(self, side: Side, reference: Side | None = None) -> bool:
        """Load a model, time its decoding and tokenize the text; `failure` says what went wrong."""
        if not await side.load(self._emit):
            return False
        await self._time(side, DECODE_BEFORE)
        if side.failure is None:
            side.text = await self._text(side, reference)
        return side.text is not None

    async def close(self, side: Side) -> None:
        """Time its decoding again, at another moment, where all was read; end its worker."""
        if side.complete and side.failure is None:
            await self._time(side, DECODE_AFTER)
        await side.close()

    async def _time(self, side: Side, answers: int) -> None:
        if self._settings.decode_steps:
            self._emit(Advanced(side.profile.name, "decode speed"))
            workers = [each.worker for each in self._sides if each.worker]
            await side.time_decode(self._settings.decode_steps, answers, workers)

    async def read(
        self, side: Side, piece: Piece, *, write: Place | None = None, reference: Logits | None = None
    ) -> Scored | None:
        """A piece scored by a model; None where that went wrong, and `failure` says why."""
        started_s = time.monotonic()
        usable = reference if side.can_compare_with(reference) else None
        if reference and not usable and side.is_comparable and OTHER_VOCABULARY not in side.notes:
            side.notes.append(OTHER_VOCABULARY)
        scored = await side.score(piece, write=write, reference=usable)
        if scored is None or side.text is None:
            return None
        self._pace.add(scored.read_tokens, time.monotonic() - started_s)
        done, total = piece.at + piece.positions, side.text.convention.scored_tokens
        side.complete = side.complete or done == total
        doing = f"{done} of {total} tokens scored, {speed_text(side.read_tok_s)}"
        self._emit(Advanced(side.profile.name, doing, self._pace.share, self._pace.left_s))
        return scored

    async def read_layer(
        self, side: Side, reference: Side, index: int, pieces: Sequence[tuple[Piece, Logits]]
    ) -> bool:
        """These pieces by the reference's model with one layer of this side's; False where it went wrong."""
        scores = Scores()
        for piece, logits in pieces:
            started_s = time.monotonic()
            scored = await side.score_layer(index, piece, logits)
            if scored is None:
                return False
            scores.add(scored.log_probs, scored.first_choices, scored.klds)
            self._pace.add(scored.read_tokens, time.monotonic() - started_s)
            doing = f"layer {index} alone, {len(scores)} tokens scored"
            self._emit(Advanced(side.profile.name, doing, self._pace.share, self._pace.left_s))
        side.add_layer(index, scores, reference.scores)
        return True

    async def _text(self, side: Side, reference: Side | None) -> Text | None:
        """The text as this side tokenizes it: mostly exactly as the reference does."""
        theirs = reference.text if reference else None
        if reference and theirs and side.has_tokenizer_of(reference):
            return theirs
        found = await side.session.tokenize(self._settings.text, self._settings.tokens)
        if not isinstance(found, Tokenized):
            side.failure = found
            return None
        own = in_windows(self._settings, found)
        if not own.windows:
            message = f"the text is too short: {len(found.token_ids)} tokens, none of them scored"
            hint = "try --scored all, or another --window"
            side.failure = Failed(kind="bad_input", message=message, hint=hint)
            return None
        if theirs and own.windows != theirs.windows:
            side.is_comparable = False
            side.notes.append(OTHER_TOKENS)
        return own
