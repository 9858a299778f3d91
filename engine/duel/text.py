"""B against A in words: the ratios, the proof of equal input, and where the answers diverge.

The one place that makes these sentences: the screen and the command line show them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from engine.duel.comparison import Comparison
from engine.duel.sides import LETTERS, listed
from engine.sanitize import visible
from engine.stats.metrics import FEWEST_TOKENS, NS, SHORTEST_NS
from engine.units import MISSING

SHA_LENGTH = 8
TOO_SHORT = "too short"


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure of B as a multiple of A's."""

    name: str
    text: str
    is_better: bool | None
    """Whether it speaks for B; None where it is not known."""
    remark: str = ""
    """Why it says nothing, in two words."""

    @property
    def words(self) -> str:
        """`×4.00 (too short)`."""
        return f"{self.text} ({self.remark})" if self.remark else self.text


def ratios(found: Comparison) -> tuple[Ratio, ...]:
    """`decode ×1.31`, `TTFT ×0.40`, `weights ×0.41`, `peak ×0.80`; speeds that were slowed, and
    those of a decoding that was too short, favour nobody.
    """
    decode = _ratio("decode", found.decode, more_is_better=True)
    if found.too_short and found.decode is not None:
        decode = replace(decode, is_better=None, remark=TOO_SHORT)
    speeds = decode, _ratio("TTFT", found.ttft)
    return (
        *(replace(ratio, is_better=None) if found.slowed else ratio for ratio in speeds),
        _ratio("weights", found.weights),
        _ratio("peak", found.peak),
    )


def slowed_text(found: Comparison) -> str:
    """`A slowed`, or `both slowed`, by other processes; empty where none was."""
    if len(found.slowed) > 1:
        return "both slowed"
    return f"{LETTERS[found.slowed[0]]} slowed" if found.slowed else ""


def too_short_text(sides: Iterable[int]) -> str:
    """`decode is too short to tell: A and B decoded for …`; empty where none was too short."""
    names = listed(sides)
    least = f"less than {SHORTEST_NS / NS:g} s or {FEWEST_TOKENS} tokens"
    return f"decode is too short to tell: {names} decoded for {least}" if names else ""


def times_text(ratio: float | None) -> str:
    """`×1.31`."""
    return MISSING if ratio is None else f"×{ratio:.2f}"


def input_text(found: Comparison) -> str:
    """`same input: 50 tokens, sha a3ceb4c8`, or why it is not the same."""
    if found.input and found.input.identical:
        return f"same input: {_tokens(found.input.tokens)}, sha {found.input.sha256[:SHA_LENGTH]}"
    if found.input and not found.input.proved:
        return "same input: not proved, for a server does not say which tokens it read"
    return f"speeds do not compare: {found.input_difference or 'different input'}"


def divergence_text(found: Comparison) -> str:
    """`diverge at token 5: “ the” | “ a”`, tokens counted from 1; says so where tokens do not compare."""
    place = found.divergence
    if not found.same_tokenizer:
        return "different tokenizers: tokens do not compare"
    if place is None:
        return f"same answer: all {_tokens(found.tokens[0])}"
    words = f"diverge at {'token' if place.by_token else 'character'} {place.token + 1}"
    if place.token == min(found.tokens) if place.by_token else not all(place.texts):
        return f"{words}, where one ends"
    a, b = (visible(text, keep_newlines=False) for text in place.texts)
    where = f" in the thoughts{_said_text(found)}" if found.is_in_thoughts else ""
    return f"{words}{where}: “{a}” | “{b}”"


def _said_text(found: Comparison) -> str:
    """What becomes of the answers after thoughts that diverge; nothing while one has not begun."""
    if not found.has_said:
        return ""
    return ", answers equal" if found.said is None else f", answers at their token {found.said.token + 1}"


def _ratio(name: str, ratio: float | None, *, more_is_better: bool = False) -> Ratio:
    is_better = None if ratio is None else ratio == 1 or (ratio > 1) == more_is_better
    return Ratio(name, times_text(ratio), is_better)


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"
