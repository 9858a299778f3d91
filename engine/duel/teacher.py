"""Teacher forcing: given tokens through the models of two sessions, and what both say at every position.

Owns the shared memory between the two workers. Knows neither duels nor how the figures are used.
"""

from msgspec import Struct
from msgspec.structs import replace

from engine.protocol.failure import Failed
from engine.protocol.scores import Passage, Scored
from engine.session import passages
from engine.session.client import Session
from engine.session.passages import PIECE_BYTES, parts
from engine.session.shared_file import SharedFile


class TokenScores(Struct, frozen=True, kw_only=True):
    """What one model says at every position; see `Scored`."""

    log_probs: tuple[float, ...] = ()
    klds: tuple[float, ...] = ()
    margins: tuple[float, ...] = ()
    reference_margins: tuple[float, ...] = ()
    reference_rounding: tuple[float, ...] = ()
    top_ids: tuple[tuple[int, ...], ...] = ()
    top_log_probs: tuple[tuple[float, ...], ...] = ()
    rounding: tuple[float, ...] = ()
    left_out: tuple[float, ...] = ()
    pieces: dict[int, str] = {}

    def and_then(self, scored: Scored) -> "TokenScores":
        """With the positions that follow."""
        return TokenScores(
            log_probs=self.log_probs + scored.log_probs,
            klds=self.klds + scored.klds,
            margins=self.margins + scored.margins,
            reference_margins=self.reference_margins + scored.reference_margins,
            reference_rounding=self.reference_rounding + scored.reference_rounding,
            top_ids=self.top_ids + scored.top_ids,
            top_log_probs=self.top_log_probs + scored.top_log_probs,
            rounding=self.rounding + scored.rounding,
            left_out=self.left_out + scored.left_out,
            pieces=self.pieces | scored.pieces,
        )


async def both(
    reference: Session, other: Session, passage: Passage
) -> tuple[TokenScores, TokenScores] | Failed:
    """What two models say of a passage; the KLD of the second is against the first."""
    info = reference.info
    row_bytes, kept = (passages.row_bytes(info), passages.kept(info)) if info else (0, 0)
    positions = max(1, PIECE_BYTES // max(1, row_bytes))
    size_bytes = max(1, row_bytes * min(positions, len(passage.token_ids) - passage.first))
    first, second = TokenScores(), TokenScores()
    with SharedFile.in_memory(size_bytes) as shared:
        for part in parts(passage, positions):
            given = await reference.score(part, write=replace(shared.place(), kept=kept))
            if isinstance(given, Failed):
                return given
            compared = await other.score(part, reference=given.logits)
            if isinstance(compared, Failed):
                return compared
            first, second = first.and_then(given), second.and_then(compared)
    return first, second


async def alone(session: Session, passage: Passage) -> TokenScores | Failed:
    """What one model says of a passage."""
    scored = await session.score(passage)
    return scored if isinstance(scored, Failed) else TokenScores().and_then(scored)
