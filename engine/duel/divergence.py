"""Where two answers diverge: the first token that differs, what each side said there, and where in its text.

Pure: knows token ids and the text of each token.
"""

from collections.abc import Sequence

from msgspec import Struct

LONGEST_CHARACTER = 4  # tokens: one for each byte


class Tokens(Struct, frozen=True):
    """An answer's tokens: their ids, and the text of each (a token need not complete a character)."""

    ids: Sequence[int]
    pieces: Sequence[str]

    def text_at(self, index: int) -> str:
        """The first text from this token on; empty where there is none."""
        return next((piece for piece in self.pieces[index : index + LONGEST_CHARACTER] if piece), "")

    def characters_before(self, index: int) -> int:
        """How long the text is before this token."""
        return sum(map(len, self.pieces[:index]))


class Divergence(Struct, frozen=True, kw_only=True):
    """The place."""

    token: int
    """The index of the first token that differs, or that only one answer has."""
    texts: tuple[str, str]
    """What A and B say there; empty where one has ended."""
    offsets: tuple[int, int]
    """Where that begins in each answer's text, in characters."""


def divergence(a: Tokens, b: Tokens) -> Divergence | None:
    """Where two answers diverge; None where all tokens are equal."""
    token = first_divergence(a.ids, b.ids)
    if token is None:
        return None
    return Divergence(
        token=token,
        texts=(a.text_at(token), b.text_at(token)),
        offsets=(a.characters_before(token), b.characters_before(token)),
    )


def first_divergence(a: Sequence[int], b: Sequence[int]) -> int | None:
    """The index of the first token in which two answers differ; None where they do not."""
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return index
    return None if len(a) == len(b) else min(len(a), len(b))
