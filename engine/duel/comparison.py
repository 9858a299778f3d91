"""A side against the reference after a turn: ratios, the proof of equal input, where the answers diverge.

Pure: reads what a duel holds; screens and command line show the same figures. The reference is A; in a
blind vote it is the first of the two that were drawn.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from engine.duel.answer import Answer
from engine.duel.divergence import Divergence, Tokens, divergence
from engine.duel.duel import Duel, Input
from engine.duel.sides import LETTERS
from engine.protocol.answers import BUSY_CORES
from engine.protocol.model import ModelInfo


class Comparison(Struct, frozen=True, kw_only=True):
    """A side's figures as multiples of the reference's; None where one of the two is missing."""

    side: int = 1
    """Which side this is about: 1 is B."""
    reference: int = 0
    labels: tuple[str, str]
    """The methods' badges, the reference's first; names or letters where they are equal or many."""
    decode: float | None
    ttft: float | None
    weights: float | None
    peak: float | None
    contended: bool
    slowed: tuple[int, ...] = ()
    """Which of the two other processes took cores from, so that speeds do not compare."""
    too_short: tuple[int, ...] = ()
    """Which of the two decoded too little for their decode speeds to be compared."""
    input: Input | None
    input_difference: str
    """Why the inputs are not the same, where that is known; empty where they are."""
    same_tokenizer: bool
    divergence: Divergence | None
    """Where the answers diverge; None where all tokens are equal."""
    tokens: tuple[int, int]
    """How many tokens each of the two gave."""
    is_in_thoughts: bool = False
    """Whether both sides are still thinking where they diverge."""
    said: Divergence | None = None
    """Then, where what they say after their thoughts diverges, counted from its beginning."""
    has_said: bool = False
    """Whether both have said something after their thoughts."""


def compare(duel: Duel, side: int = 1, reference: int = 0) -> Comparison | None:
    """The comparison of two answers of the turn; None unless both gave one."""
    if not {reference, side} <= duel.answers.keys():
        return None
    a, b = duel.answers[reference], duel.answers[side]
    infos = [a.info, b.info]
    if not (a.pieces and b.pieces and infos[0] and infos[1]):
        return None
    return Comparison(
        side=side,
        reference=reference,
        labels=_labels(duel, side, reference),
        decode=_ratio(b.metrics.decode_tok_s, a.metrics.decode_tok_s),
        ttft=_ratio(b.metrics.ttft_ms, a.metrics.ttft_ms),
        weights=_ratio(infos[1].weights_bytes, infos[0].weights_bytes),
        peak=_ratio(_peak_bytes(b), _peak_bytes(a)),
        contended=a.metrics.contended or b.metrics.contended,
        slowed=tuple(one for one in (reference, side) if is_slowed(duel.answers[one])),
        too_short=tuple(one for one in (reference, side) if duel.answers[one].metrics.too_short),
        input=duel.input((reference, side)),
        input_difference=difference(duel, side, reference),
        same_tokenizer=same_tokenizer(infos[0], infos[1]),
        divergence=(place := divergence(a.tokens, b.tokens)),
        tokens=(a.metrics.new_tokens, b.metrics.new_tokens),
        is_in_thoughts=(thinking := is_in_thoughts(a, b, place)),
        said=divergence(said(a), said(b)) if thinking else None,
        has_said=bool(said(a).ids and said(b).ids),
    )


def is_slowed(answer: Answer) -> bool:
    """Whether other processes took cores from an answer."""
    return any(note.startswith(BUSY_CORES) for note in answer.end_notes)


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


def comparisons(duel: Duel) -> tuple[Comparison, ...]:
    """Every other side against A, as far as both answered."""
    found = (compare(duel, side) for side in range(1, len(duel.sessions)))
    return tuple(comparison for comparison in found if comparison)


def divergence_offsets(found: Sequence[Comparison]) -> dict[int, int]:
    """By side, where its answer diverges, in characters; without those that do not, or where it is not known.

    A's is where the first of the others leaves it.
    """
    places = [(one.side, one.divergence) for one in found if one.divergence and one.same_tokenizer]
    offsets = {side: place.offsets[1] for side, place in places}
    return offsets | ({0: min(place.offsets[0] for _, place in places)} if places else {})


def difference(duel: Duel, side: int = 1, reference: int = 0) -> str:
    """Why two sides read different tokens, as far as their profiles and conversations show."""
    given = duel.input((reference, side))
    if given is None or given.identical or not given.proved or not {reference, side} <= duel.answers.keys():
        return ""
    first, second = duel.answers[reference], duel.answers[side]
    a, b = (duel.overrides.on(duel.sessions[one].profile).prompt for one in (reference, side))
    reasons = {
        "the tokenizers differ": bool(
            first.info and second.info and not same_tokenizer(first.info, second.info)
        ),
        "the system messages differ": a.system != b.system,
        "the templates differ": a.template != b.template,
        **_unread(reference, first, second),
        **_unread(side, second, first),
        "each side reads its own earlier answers": _replies(first) != _replies(second),
        "each side goes on with its own answer": bool(first.resumed or second.resumed),
        **_notes(reference, first, second),
        **_notes(side, second, first),
    }
    return "; ".join(reason for reason, applies in reasons.items() if applies)


def _unread(side: int, answer: Answer, other: Answer) -> dict[str, bool]:
    """Whether a side reads fewer earlier prompts than the other: those that it gave no answer to."""
    missing = sum((Counter(_prompts(other)) - Counter(_prompts(answer))).values())
    prompts = "1 earlier prompt, to which it" if missing == 1 else f"{missing} earlier prompts, to which it"
    return {f"{LETTERS[side]} does not read {prompts} gave no answer": missing > 0}


def _prompts(answer: Answer) -> list[str]:
    return [message.content for message in answer.messages if message.role == "user"]


def _replies(answer: Answer) -> list[str]:
    return [message.content for message in answer.messages if message.role == "assistant"]


def _notes(side: int, answer: Answer, other: Answer) -> dict[str, bool]:
    """What was noted of a side's prompt, and whether it was of it alone."""
    return {f"{LETTERS[side]}: {note}": note not in other.prompt_notes for note in answer.prompt_notes}


def _labels(duel: Duel, side: int, reference: int) -> tuple[str, str]:
    pair = reference, side
    a, b = (info.label if (info := duel.answers[one].info) else "" for one in pair)
    if a != b and len(duel.sessions) == 2:
        return a, b
    names = [duel.sessions[one].profile.name for one in pair]
    if len(duel.sessions) == 2 and names[0] != names[1]:
        return names[0], names[1]
    return f"{LETTERS[reference]} {a}", f"{LETTERS[side]} {b}"


def _peak_bytes(answer: Answer) -> int | None:
    return answer.memory.peak_bytes if answer.memory else None


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None
