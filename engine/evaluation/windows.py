"""A text as the pieces in which models score it: windows, or parts of them where the logits are too many.

Pure. Knows tokens and sizes; neither sessions nor figures.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from engine.evaluation.settings import PASS_TOKENS, Convention, Settings, spans, text_name
from engine.protocol.scores import Passage, Tokenized
from engine.session.passages import PIECE_BYTES, parts
from engine.token_ids import sha256


class Piece(Struct, frozen=True, kw_only=True):
    """Consecutive positions of one window."""

    passage: Passage
    """The window's tokens up to the piece's last."""
    at: int
    """How many positions have been scored in all pieces before."""

    @property
    def positions(self) -> int:
        """How many tokens are scored."""
        return len(self.passage.token_ids) - self.passage.first


class Text(Struct, frozen=True, kw_only=True):
    """A text in windows."""

    convention: Convention
    windows: tuple[tuple[tuple[int, ...], int], ...]
    """Each window's tokens, and which of them is the first to be scored."""

    @property
    def tokens_to_read(self) -> int:
        """In forward passes, once through."""
        return sum(len(window) for window, _ in self.windows)

    @property
    def depths(self) -> list[int]:
        """How many tokens of its window come before each position that is scored, in order."""
        return [depth for window, first in self.windows for depth in range(first, len(window))]

    def beginning(self, windows: int) -> "Text":
        """Its first windows; the convention stays that of the whole."""
        return replace(self, windows=self.windows[:windows])

    def pieces(self, row_bytes: int) -> Iterator[Piece]:
        """The text in pieces whose logits, `row_bytes` a position, take no more than PIECE_BYTES."""
        most, at = max(1, PIECE_BYTES // max(1, row_bytes)), 0
        for window, first in self.windows:
            for passage in parts(Passage(token_ids=window, first=first, chunk=PASS_TOKENS), most):
                yield Piece(passage=passage, at=at)
                at += len(passage.token_ids) - passage.first


def in_windows(settings: Settings, found: Tokenized) -> Text:
    """The windows of these tokens by the settings' convention."""
    beginning, ids = found.beginning, found.token_ids
    everywhere = settings.begins == "each window"
    lead = beginning if everywhere else ()
    if not everywhere:
        ids = (*beginning, *ids)
    windows = tuple(
        ((*lead, *ids[span.start : span.end]), len(lead) + span.first - span.start)
        for span in spans(settings, len(ids), len(lead))
    )
    convention = Convention(
        text=text_name(settings.text),
        window=settings.window,
        stride=settings.step,
        scored=settings.scored,
        begins=settings.begins if beginning else "nothing",
        windows=len(windows),
        tokens=len(found.token_ids),
        scored_tokens=sum(len(window) - first for window, first in windows),
        top_k=settings.top_k,
        tokens_sha256=sha256(found.token_ids),
    )
    return Text(convention=convention, windows=windows)
