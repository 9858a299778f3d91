"""The sides of a duel: how many there may be, and what they are called. A is the reference of all others."""

from collections.abc import Iterable, Sequence

from engine.errors import InputError

LETTERS = "ABCDEF"
MOST_SIDES = len(LETTERS)


def require_few(profiles: Sequence[object]) -> None:
    """InputError where that is more than a duel has sides."""
    if len(profiles) > MOST_SIDES:
        raise InputError(
            f"a duel has {MOST_SIDES} sides at most, and {len(profiles)} profiles are named",
            "`quantduel bench` and `quantduel eval` take any number",
        )


def all_of(sides: int) -> str:
    """`both` of two, `all` of more."""
    return "both" if sides == 2 else "all"


def listed(sides: Iterable[int]) -> str:
    """`A`, `A and B`, `A, B and D`; empty where there is none."""
    letters = [LETTERS[side] for side in sorted(set(sides))]
    return " and ".join(filter(None, (", ".join(letters[:-1]), *letters[-1:])))
