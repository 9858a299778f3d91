"""Why an answer ended, in words."""

import pytest

from engine.ending import ending_text
from engine.protocol.answers import FinishReason


@pytest.mark.parametrize(
    ("reason", "tokens", "limit", "says"),
    [
        ("stop", 8, 8, ""),
        (None, 8, 8, ""),
        ("length", 8, 8, "cut at the limit of 8 tokens"),
        ("length", 5, 8, "the context is full"),
        ("cancelled", 5, 8, "cancelled after 5 tokens"),
        ("cancelled", 0, 8, "cancelled before its first token"),
    ],
)
def test_every_end_but_the_natural_one_has_words(
    reason: FinishReason | None, tokens: int, limit: int, says: str
) -> None:
    assert says in ending_text(reason, tokens, limit)
    assert bool(says) == bool(ending_text(reason, tokens, limit))
