"""Where two answers diverge: the first token that differs, what each side said there, and where in its text.

Pure: knows token ids and the text of each token.
"""

from collections.abc import Sequence

from msgspec import Struct

LONGEST_CHARACTER = 4  # tokens: one for each byte
SHOWN = 12  # characters of each text


class Tokens(Struct, frozen=True):
    """An answer's tokens: their ids, and the text of each (a token need not complete a character)."""

    ids: Sequence[int | None]
    """None where a server does not say: such a token is its text."""
    pieces: Sequence[str]

    @property
    def are_known(self) -> bool:
        """Whether every piece of text is a token with an id; what ends an answer may have neither."""
        return all(id is not None or not piece for id, piece in zip(self.ids, self.pieces, strict=True))

    def text_at(self, index: int) -> str:
        """The first text from this token on; empty where there is none."""
        return next((piece for piece in self.pieces[index : index + LONGEST_CHARACTER] if piece), "")

    def characters_before(self, index: int) -> int:
        """How long the text is before this token."""
        return sum(map(len, self.pieces[:index]))


class Divergence(Struct, frozen=True, kw_only=True):
    """The place."""

    token: int
    """The index of the first token that differs, or that only one answer has; else of the character."""
    by_token: bool = True
    """False where not all ids are known, so that texts were compared."""
    texts: tuple[str, str]
    """What A and B say there; empty where one has ended."""
    offsets: tuple[int, int]
    """Where that begins in each answer's text, in characters."""


def divergence(a: Tokens, b: Tokens) -> Divergence | None:
    """Where two answers diverge; None where all tokens are equal, or all text where ids are not known."""
    if not (a.are_known and b.are_known):
        return _in_text("".join(a.pieces), "".join(b.pieces))
    token = first_divergence(*_with_equal_ends(a, b))
    if token is None:
        return None
    return Divergence(
        token=token,
        texts=(a.text_at(token), b.text_at(token)),
        offsets=(a.characters_before(token), b.characters_before(token)),
    )


def first_divergence(a: Sequence[int | None], b: Sequence[int | None]) -> int | None:
    """The index of the first token in which two answers differ; None where they do not."""
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return index
    return None if len(a) == len(b) else min(len(a), len(b))


def _with_equal_ends(a: Tokens, b: Tokens) -> tuple[list[int | None], list[int | None]]:
    """The ids; a token that has neither id nor text is any that has no text."""
    ids = list(a.ids), list(b.ids)
    for index, (left, right) in enumerate(zip(a.ids, b.ids, strict=False)):
        if None in (left, right) and a.pieces[index] == b.pieces[index]:
            ids[0][index] = ids[1][index] = None
    return ids


def _in_text(a: str, b: str) -> Divergence | None:
    if a == b:
        return None
    pairs = enumerate(zip(a, b, strict=False))
    place = next((index for index, (left, right) in pairs if left != right), min(len(a), len(b)))
    texts = a[place : place + SHOWN], b[place : place + SHOWN]
    return Divergence(token=place, by_token=False, texts=texts, offsets=(place, place))
