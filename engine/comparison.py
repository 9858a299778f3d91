"""B against A after a turn: ratios, the proof of equal input, and the place where the answers part.

Pure: reads what a duel holds; the screens and the command line show the same figures.
"""

from msgspec import Struct

from engine.duel import Answer, Duel, Input, first_divergence


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
    tokens: tuple[int, int]
    """How many tokens each side gave."""


def compare(duel: Duel) -> Comparison | None:
    """The comparison of the turn's two answers; None unless both gave one."""
    if sorted(duel.answers) != [0, 1]:
        return None
    a, b = duel.answers[0], duel.answers[1]
    infos = [session.info for session in duel.sessions]
    if not (a.token_ids and b.token_ids and infos[0] and infos[1]):
        return None
    return Comparison(
        labels=_labels(duel),
        decode=_ratio(b.metrics.decode_tok_s, a.metrics.decode_tok_s),
        ttft=_ratio(b.metrics.ttft_ms, a.metrics.ttft_ms),
        weights=_ratio(infos[1].weights.total_bytes, infos[0].weights.total_bytes),
        peak=_ratio(_peak_bytes(b), _peak_bytes(a)),
        contended=a.metrics.contended or b.metrics.contended,
        input=duel.input(),
        same_tokenizer=infos[0].tokenizer_sha256 == infos[1].tokenizer_sha256,
        parted_at=first_divergence(a.token_ids, b.token_ids),
        tokens=(len(a.token_ids), len(b.token_ids)),
    )


def _labels(duel: Duel) -> tuple[str, str]:
    a, b = (session.info.label if session.info else "" for session in duel.sessions)
    if a != b:
        return a, b
    names = [session.profile.name for session in duel.sessions]
    return (names[0], names[1]) if names[0] != names[1] else (f"A {a}", f"B {b}")


def _peak_bytes(answer: Answer) -> int | None:
    return answer.memory.peak_bytes if answer.memory else None


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None
