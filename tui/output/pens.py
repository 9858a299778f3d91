"""Pens: how a cell is painted, and the shortest way from one pen to another.

A pen is what stands in a style's escape sequence, such as `1;38;2;86;182;194`; where it carries a link, that
follows a NUL, as it stands in the sequence of a link. The empty pen is the terminal's own.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

PLAIN = ""
OFF = {
    "1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "6": "25", "7": "27", "8": "28", "9": "29",
    "21": "24", "51": "54", "52": "54", "53": "55",
}  # fmt: skip
SEEN_WITHOUT_TEXT = frozenset({"4", "7", "9", "21", "51", "52", "53"})  # lines, frames and swapped colours
KNOWN = 4096  # pens and ways that are kept


class Parts(NamedTuple):
    """A pen in parts."""

    attributes: frozenset[str]
    colour: str
    ground: str
    link: str


@lru_cache(KNOWN)
def parts(pen: str) -> Parts:
    """Take a pen apart."""
    codes, _, link = pen.partition("\0")
    found = Parts(frozenset(), "", "", link)
    for code in _codes(codes):
        number = code.partition(";")[0]
        if number == "38" or (len(number) == 2 and number[0] in "39" and number[1] < "8"):
            found = found._replace(colour=code)
        elif (
            number == "48" or (number[0] == "4" and len(number) == 2 and number[1] < "8") or len(number) == 3
        ):
            found = found._replace(ground=code)
        elif number in OFF:
            found = found._replace(attributes=found.attributes | {code})
    return found


def _codes(codes: str) -> Iterator[str]:
    """The codes of a sequence, each colour whole; the ones for the terminal's own colours are left out."""
    left = iter(codes.split(";")) if codes else iter(())
    for code in left:
        if code in {"38", "48"}:
            kind = next(left, "")
            yield ";".join([code, kind, *(next(left, "") for _ in range(3 if kind == "2" else 1))])
        elif code not in {"0", "39", "49"}:
            yield code


@lru_cache(KNOWN)
def is_marked(pen: str) -> bool:
    """Whether more than a ground is seen of it in an empty place."""
    return bool(parts(pen).attributes & SEEN_WITHOUT_TEXT)


@lru_cache(KNOWN)
def of_blank(pen: str) -> str:
    """The pen of a blank cell: text has a colour, an empty place has none."""
    found = parts(pen)
    if is_marked(pen):
        return pen
    return found.ground + (f"\0{found.link}" if found.link else "")


@lru_cache(KNOWN)
def way(old: str | None, new: str) -> str:
    """What turns one pen into another; from None, whatever the terminal has."""
    after = parts(new)
    link = f"\x1b]8;{after.link or ';'}\x1b\\"
    fresh = _sequence(["0", *sorted(after.attributes), after.colour, after.ground])
    if old is None:
        return fresh + link
    before = parts(old)
    changes = list(_changes(before, after))
    shortest = min(_sequence(changes), fresh, key=len) if changes else ""
    return shortest + (link if before.link != after.link else "")


def _sequence(codes: list[str]) -> str:
    found = ";".join(filter(None, codes))
    return "\x1b[m" if found == "0" else f"\x1b[{found}m"


def _changes(before: Parts, after: Parts) -> Iterator[str]:
    off = {OFF[code] for code in before.attributes - after.attributes}
    yield from sorted(off)
    yield from sorted(code for code in after.attributes if code not in before.attributes or OFF[code] in off)
    if before.colour != after.colour:
        yield after.colour or "39"
    if before.ground != after.ground:
        yield after.ground or "49"
