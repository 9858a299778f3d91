"""Which words of two texts differ, and the code blocks of one. Pure."""

import re
from collections import defaultdict
from collections.abc import Sequence

from markdown_it import MarkdownIt

WORDS = re.compile(r"\s+|[^\W_]+|.", re.DOTALL)
MOST_WORDS = 12_000  # of each text, and spaces; what comes after them is not compared

Span = tuple[int, int]
"""From this character to before that one."""


def differing(a: str, b: str) -> tuple[list[Span], list[Span]]:
    """What of each text is not in the other, word by word."""
    of_a, of_b = (WORDS.findall(text)[:MOST_WORDS] for text in (a, b))
    pairs = common(of_a, of_b)
    return _others(of_a, {place for place, _ in pairs}), _others(of_b, {place for _, place in pairs})


def common(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """The places of a longest common subsequence, from its end.

    Hyyrö, "Bit-parallel LCS-length computation revisited" (2004): a row of the table is one number, bit i of
    which is 0 where a[i] lengthens the subsequence. So the time does not depend on how often words recur, as
    in an answer that goes round in circles.
    """
    where: defaultdict[str, int] = defaultdict(int)
    for place, word in enumerate(a):
        where[word] |= 1 << place
    rows = [row := (1 << len(a)) - 1]
    full = row
    for word in b:
        matched = row & where.get(word, 0)
        row = ((row + matched) | (row - matched)) & full
        rows.append(row)
    return _traced(rows, len(a), len(b))


def _traced(rows: Sequence[int], i: int, j: int) -> list[tuple[int, int]]:
    """The pairs, from the table's last corner back to its first."""
    pairs = []
    while i and j:
        if rows[j] >> (i - 1) & 1:
            i -= 1
        elif not rows[j - 1] >> (i - 1) & 1:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs


def code_blocks(text: str) -> list[str]:
    """The content of every fenced or indented block of code."""
    tokens = MarkdownIt("commonmark").parse(text)
    return [token.content for token in tokens if token.type in {"fence", "code_block"} and token.content]


def _others(words: list[str], kept: set[int]) -> list[Span]:
    spans: list[Span] = []
    place = 0
    for index, word in enumerate(words):
        end = place + len(word)
        if index not in kept:
            joined = bool(spans) and spans[-1][1] == place
            spans[-1:] = [(spans[-1][0], end)] if joined else [*spans[-1:], (place, end)]
        place = end
    return spans
