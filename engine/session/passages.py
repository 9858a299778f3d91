"""Passages to be scored, in parts whose logits may be handed over at once. Pure."""

from msgspec.structs import replace

from engine.protocol import Passage

PIECE_BYTES = 128 << 20  # of logits that are handed over at once


def parts(passage: Passage, positions: int) -> list[Passage]:
    """A passage in parts of at most `positions` scored positions."""
    end = len(passage.token_ids)
    firsts = range(passage.first, end, positions)
    return [
        replace(
            passage,
            token_ids=passage.token_ids[: min(first + positions, end)],
            first=first,
            continues=first > passage.first,
        )
        for first in firsts
    ]
