"""Which words of two texts differ, and the code blocks of one. Pure."""

import re
from difflib import SequenceMatcher

from markdown_it import MarkdownIt

WORDS = re.compile(r"\s+|[^\W_]+|.", re.DOTALL)
MOST_WORDS = 6_000  # of each text; what comes after them is not compared

Span = tuple[int, int]
"""From this character to before that one."""


def differing(a: str, b: str) -> tuple[list[Span], list[Span]]:
    """What of each text is not in the other, word by word."""
    of_a, of_b = (WORDS.findall(text)[:MOST_WORDS] for text in (a, b))
    blocks = SequenceMatcher(None, of_a, of_b, autojunk=False).get_matching_blocks()
    kept_a = {place for block in blocks for place in range(block.a, block.a + block.size)}
    kept_b = {place for block in blocks for place in range(block.b, block.b + block.size)}
    return _others(of_a, kept_a), _others(of_b, kept_b)


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
