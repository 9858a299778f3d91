"""A candidate's figures by depth: how many tokens of its window a model had read before each position. Pure.

What is held of a text in fewer bits, or read by fewer, may do well at its beginning alone.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from msgspec import Struct

from engine.stats.fidelity import Kld, Scores, against

FIRST_BOUNDS = (0, 128, 512)
"""Where the first buckets begin; each later one begins at twice the depth of the one before."""


class Depth(Struct, frozen=True, kw_only=True):
    """The positions with `first` to `last` tokens before them; the last bucket ends where the window does."""

    first: int
    last: int
    tokens: int
    kld: Kld | None = None
    same_top: float | None = None
    """Per cent."""
    same_top_stderr: float | None = None
    perplexity_ratio: float | None = None
    perplexity_ratio_stderr: float | None = None

    @property
    def name(self) -> str:
        """`128–511`."""
        return f"{self.first}–{self.last}"


def bounds(deepest: int) -> list[int]:
    """Where buckets begin, up to the first bound beyond `deepest`: 0, 128, 512, 1024, …"""
    found = list(FIRST_BOUNDS)
    while found[-1] <= deepest:
        found.append(2 * found[-1])
    return found


def by_depth(scores: Scores, reference: Scores, depths: Sequence[int]) -> tuple[Depth, ...]:
    """The figures of each bucket that has positions; `depths` are the text's, `scores` has its first ones."""
    return tuple(_buckets(scores, reference, depths))


def _buckets(scores: Scores, reference: Scores, depths: Sequence[int]) -> Iterator[Depth]:
    deepest, read = max(depths, default=0), depths[: len(scores)]
    for first, after in pairwise(bounds(deepest)):
        places = [place for place, depth in enumerate(read) if first <= depth < after]
        if not places:
            continue
        found = against(scores.at(places), reference.at(places))
        yield Depth(
            first=first,
            last=min(after - 1, deepest),
            tokens=len(places),
            kld=found.kld,
            same_top=found.same_top,
            same_top_stderr=found.same_top_stderr,
            perplexity_ratio=found.perplexity_ratio,
            perplexity_ratio_stderr=found.perplexity_ratio_stderr,
        )
