"""B against A after a turn: ratios, the proof of equal input, and the place where the answers diverge.

Pure: reads what a duel holds; the screens and the command line show the same figures.
"""

from msgspec import Struct

from engine.duel.answer import Answer
from engine.duel.divergence import Divergence, Tokens, divergence
from engine.duel.duel import Duel, Input
from engine.protocol import ModelInfo


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
    input_difference: str
    """Why the inputs are not the same, where that is known; empty where they are."""
    same_tokenizer: bool
    divergence: Divergence | None
    """Where the answers diverge; None where all tokens are equal."""
    tokens: tuple[int, int]
    """How many tokens each side gave."""
    is_in_thoughts: bool = False
    """Whether both sides are still thinking where they diverge."""
    said: Divergence | None = None
    """Then, where what they say after their thoughts diverges, counted from its beginning."""
    has_said: bool = False
    """Whether both have said something after their thoughts."""


def compare(duel: Duel) -> Comparison | None:
    """The comparison of the turn's two answers; None unless both gave one."""
    if sorted(duel.answers) != [0, 1]:
        return None
    a, b = duel.answers[0], duel.answers[1]
    infos = [a.info, b.info]
    if not (a.pieces and b.pieces and infos[0] and infos[1]):
        return None
    return Comparison(
        labels=_labels(duel),
        decode=_ratio(b.metrics.decode_tok_s, a.metrics.decode_tok_s),
        ttft=_ratio(b.metrics.ttft_ms, a.metrics.ttft_ms),
        weights=_ratio(infos[1].weights_bytes, infos[0].weights_bytes),
        peak=_ratio(_peak_bytes(b), _peak_bytes(a)),
        contended=a.metrics.contended or b.metrics.contended,
        input=duel.input(),
        input_difference=difference(duel),
        same_tokenizer=same_tokenizer(infos[0], infos[1]),
        divergence=(place := divergence(a.tokens, b.tokens)),
        tokens=(a.metrics.new_tokens, b.metrics.new_tokens),
        is_in_thoughts=(thinking := is_in_thoughts(a, b, place)),
        said=divergence(said(a), said(b)) if thinking else None,
        has_said=bool(said(a).ids and said(b).ids),
    )


def is_in_thoughts(a: Answer, b: Answer, place: Divergence | None) -> bool:
    """Whether both sides are still thinking where they diverge; only tokens can tell."""
    if place is None or not place.by_token:
        return False
    return place.token < min(a.thought_tokens, b.thought_tokens)


def said(answer: Answer) -> Tokens:
    """An answer's tokens after its thoughts."""
    first, found = answer.thought_tokens, answer.tokens
    return Tokens(found.ids[first:], found.pieces[first:])


def same_tokenizer(a: ModelInfo, b: ModelInfo) -> bool:
    """Whether equal ids are equal text, as far as is known: of a server's tokenizer only its ids are."""
    return not a.tokenizer_sha256 or not b.tokenizer_sha256 or a.tokenizer_sha256 == b.tokenizer_sha256


def difference(duel: Duel) -> str:
    """Why two sides read different tokens, as far as their profiles and conversations show."""
    given = duel.input()
    if given is None or given.identical or not given.proved or sorted(duel.answers) != [0, 1]:
        return ""
    a, b = (duel.overrides.on(session.profile).prompt for session in duel.sessions)
    infos = [duel.answers[side].info for side in (0, 1)]
    notes = [duel.answers[side].prompt_notes for side in (0, 1)]
    reasons = {
        "the tokenizers differ": bool(infos[0] and infos[1] and not same_tokenizer(infos[0], infos[1])),
        "the system messages differ": a.system != b.system,
        "the templates differ": a.template != b.template,
        "each side reads its own earlier answers": duel.answers[0].messages != duel.answers[1].messages,
        "each side goes on with its own answer": bool(duel.answers[0].resumed or duel.answers[1].resumed),
        **{f"A: {note}": note not in notes[1] for note in notes[0]},
        **{f"B: {note}": note not in notes[0] for note in notes[1]},
    }
    return "; ".join(reason for reason, applies in reasons.items() if applies)


def _labels(duel: Duel) -> tuple[str, str]:
    a, b = (info.label if (info := duel.answers[side].info) else "" for side in (0, 1))
    if a != b:
        return a, b
    names = [session.profile.name for session in duel.sessions]
    return (names[0], names[1]) if names[0] != names[1] else (f"A {a}", f"B {b}")


def _peak_bytes(answer: Answer) -> int | None:
    return answer.memory.peak_bytes if answer.memory else None


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None
