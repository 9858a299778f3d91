"""B against A after a turn: ratios, the proof of equal input, and the place where the answers part.

Pure: reads a duel's record and knows no widget.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from engine.duel import Answer, Duel, Input, first_divergence

LONGEST_CHARACTER = 4  # tokens: one for each byte


class Comparison(Struct, frozen=True, kw_only=True):
    """B's figures as multiples of A's; None where one of the two is missing."""

    labels: tuple[str, str]
    """The methods' badges; the profiles' names where the badges are equal."""
    decode: float | None
    ttft: float | None
    weights: float | None
    peak: float | None
    contended: bool
    input: Input | None
    same_tokenizer: bool
    parted_at: int | None
    """The index of the first token that differs; None where all are equal."""
    parted_texts: tuple[str, str]
    """What each side said there."""
    tokens: tuple[int, int]
    """How many tokens each side gave."""


def compare(duel: Duel, pieces: Mapping[int, Sequence[str]]) -> Comparison | None:
    """The comparison of the turn's two answers; None unless both gave one. `pieces`: each token's text."""
    if sorted(duel.answers) != [0, 1]:
        return None
    a, b = duel.answers[0], duel.answers[1]
    infos = [session.info for session in duel.sessions]
    if not (a.token_ids and b.token_ids and infos[0] and infos[1]):
        return None
    parted_at = first_divergence(a.token_ids, b.token_ids)
    return Comparison(
        labels=_labels(duel),
        decode=_ratio(b.metrics.decode_tok_s, a.metrics.decode_tok_s),
        ttft=_ratio(b.metrics.ttft_ms, a.metrics.ttft_ms),
        weights=_ratio(infos[1].weights.total_bytes, infos[0].weights.total_bytes),
        peak=_ratio(_peak_bytes(b), _peak_bytes(a)),
        contended=a.metrics.contended or b.metrics.contended,
        input=duel.input(),
        same_tokenizer=infos[0].tokenizer_sha256 == infos[1].tokenizer_sha256,
        parted_at=parted_at,
        parted_texts=(_text_at(pieces[0], parted_at), _text_at(pieces[1], parted_at)),
        tokens=(len(a.token_ids), len(b.token_ids)),
    )


def _labels(duel: Duel) -> tuple[str, str]:
    a, b = (session.info.label if session.info else "" for session in duel.sessions)
    if a != b:
        return a, b
    names = [session.profile.name for session in duel.sessions]
    return (names[0], names[1]) if names[0] != names[1] else (f"A {a}", f"B {b}")


def _text_at(pieces: Sequence[str], index: int | None) -> str:
    """What was said there: the first text from this token on, as a token need not complete a character."""
    if index is None:
        return ""
    texts = [text for text in pieces[index : index + LONGEST_CHARACTER] if text]
    return texts[0] if texts else ""


def _peak_bytes(answer: Answer) -> int | None:
    return answer.memory.peak_bytes if answer.memory else None


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None
