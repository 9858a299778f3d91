"""An answer's thoughts apart from what it says after them. Pure: reads text, pieces and the marks."""

from collections.abc import Sequence

from msgspec import Struct

from engine.protocol.model import ThinkMarks


class Parts(Struct, frozen=True, kw_only=True):
    """An answer so far."""

    thoughts: str = ""
    said: str = ""
    """What the answer says, once the thoughts are over."""
    said_from: int | None = None
    """Where that begins in the text; None while it has not begun."""


def parts(text: str, marks: ThinkMarks | None, *, complete: bool = True) -> Parts:
    """The two parts. While an answer is not `complete`, what may become a mark is in neither of them."""
    if marks is None:
        return Parts(said=text, said_from=0 if text else None)
    begun = text.lstrip()
    if not marks.within and not begun.startswith(marks.open):
        is_open = not complete and marks.open.startswith(begun)
        return Parts() if is_open else Parts(said=text, said_from=0 if text else None)
    start = len(text) - len(begun) + len(marks.open) if begun.startswith(marks.open) else 0
    end = text.find(marks.close, start)
    if end < 0:
        return Parts(thoughts=_settled(text[start:], marks.close, complete=complete).strip())
    rest = text[end + len(marks.close) :]
    said = rest.lstrip()
    return Parts(
        thoughts=text[start:end].strip(), said=said, said_from=len(text) - len(said) if said else None
    )


def first_said(pieces: Sequence[str], found: Parts) -> int | None:
    """The index of the first token of what the answer says; None where there is none."""
    if found.said_from is None:
        return None
    length = 0
    for index, piece in enumerate(pieces):
        length += len(piece)
        if length > found.said_from:
            return index
    return None


def _settled(text: str, mark: str, *, complete: bool) -> str:
    """The text without an end that may become the mark."""
    if complete:
        return text
    tails = (n for n in range(len(mark) - 1, 0, -1) if text.endswith(mark[:n]))
    return text[: len(text) - next(tails, 0)]
