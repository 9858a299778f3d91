"""How a lens is had: each answer is read (teacher-forced) by both models after the prompt that its own side
was given, and a divergence is judged against how far rounding moves the reference.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from engine.duel import teacher
from engine.duel.abilities import why_not
from engine.duel.answer import Answer
from engine.duel.divergence import first_divergence
from engine.duel.duel import Duel
from engine.duel.lens import Choice, Lens, NoLens, Reading, Token, Verdict, VerdictKind, View
from engine.duel.sides import LETTERS
from engine.duel.teacher import TokenScores
from engine.errors import GenerationError
from engine.protocol.answers import Rendered
from engine.protocol.failure import Failed
from engine.protocol.model import ModelInfo
from engine.protocol.scores import Passage
from engine.session import passages as passages_of
from engine.session.client import Session
from engine.session.passages import LINE_BYTES
from engine.stats import fidelity
from engine.stats.margins import margins as margins_of
from engine.units import bytes_text

Found = TypeVar("Found")

TOP = 5
CHUNK = 512  # tokens a forward pass, so that a cancel is heard
PORTIONS = 3  # in which the reference reads its answer once more, to see how far rounding moves its margins
FLOAT32_NOISE = 1e-5  # nats, of the log-softmax itself
NOISE_SHARE = 0.95  # of the positions moved less than what counts as noise


async def look(duel: Duel) -> Lens | NoLens:
    """The lens on the duel's last turn: A against `duel.lens_side`; both must be ready and have answered.

    A few forward passes.
    """
    pair = 0, duel.lens_side
    if missing := _missing(duel, pair) or _too_far(duel, pair):
        return missing
    a, b = (duel.sessions[side] for side in pair)
    infos = [session.info for session in (a, b) if session.info]
    try:
        passages = [await _passage(duel.sessions[side], duel.answers[side]) for side in pair]
        said = [_good(await teacher.both(a, b, passage)) for passage in passages]
        _require_same_text(said, infos)
        noise = await _noise(a, passages[0], said[0][0])
    except GenerationError as error:
        return NoLens(reason="failed", message=error.message, hint=error.hint)
    readings = (_reading(0, passages[0], said[0]), _reading(duel.lens_side, passages[1], said[1]))
    notes = ("the prompts differ, so each answer was scored after another one",)
    if not _same_input(duel, pair):
        return Lens(readings=readings, verdict=None, notes=notes)
    return Lens(readings=readings, verdict=_verdict(readings, said[0][0], noise))


def margins(said: TokenScores, pairs: Sequence[Sequence[int]]) -> list[float | None]:
    """How much likelier the first of each pair is, in nats; None where one is not among the likeliest."""
    found: list[float | None] = []
    for pair, ids, log_probs in zip(pairs, said.top_ids, said.top_log_probs, strict=True):
        known = dict(zip(ids, log_probs, strict=True))
        found.append(known[pair[0]] - known[pair[1]] if set(pair[:2]) <= known.keys() else None)
    return found


def _missing(duel: Duel, pair: tuple[int, int]) -> NoLens | None:
    """Why there can be no lens."""
    sessions = [duel.sessions[side] for side in pair if side < len(duel.sessions)]
    infos = [session.info for session in sessions]
    if len(infos) != 2 or not all(session.ready for session in sessions):
        message = "both models must be loaded at once"
        is_swap = duel.schedule == "swap"
        hint = "the schedule loads one at a time: another one holds both" if is_swap else ""
        return NoLens(reason="not ready", message=message, hint=hint)
    if message := why_not("lens", [session.profile for session in sessions], infos):
        return NoLens(reason="served", message=message, hint="texts and speeds still compare")
    if not set(pair) <= {side for side, answer in duel.answers.items() if answer.token_ids}:
        return NoLens(reason="not answered", message="both sides must have answered")
    loaded = [info for info in infos if info and not info.served]  # of a server's, what it says is compared
    if len({info.tokenizer_sha256 for info in loaded}) > 1:
        message = "the tokenizers differ: equal ids are not equal text, so no token can be compared"
        return NoLens(reason="other tokenizer", message=message, hint="texts, speeds and sizes still can")
    if len({info.vocabulary for info in loaded}) > 1:
        message = "the models give different numbers of logits: their probabilities cannot be compared"
        return NoLens(reason="other vocabulary", message=message)
    return None


def on_the_line(duel: Duel) -> str:
    """What a lens sends between machines, in a sentence; empty where both models are here."""
    size_bytes, hosts = _travelling(duel, (0, duel.lens_side))
    return f"{bytes_text(size_bytes)} of logits go over the line to {hosts}" if hosts else ""


def _too_far(duel: Duel, pair: tuple[int, int]) -> NoLens | None:
    """Why nothing is read: it would send too much between machines."""
    size_bytes, hosts = _travelling(duel, pair)
    if size_bytes <= LINE_BYTES:
        return None
    sizes = f"{bytes_text(size_bytes)} over the line to {hosts}, where {bytes_text(LINE_BYTES)} are allowed"
    return NoLens(reason="failed", message=f"the logits would take {sizes}", hint="ask for shorter answers")


def _travelling(duel: Duel, pair: tuple[int, int]) -> tuple[int, str]:
    """Bytes of logits that go between machines, and which machines those are."""
    infos = [duel.sessions[side].info for side in pair if side < len(duel.sessions)]
    hosts = [info.host for info in infos if info and info.host]
    positions = sum(len(duel.answers[side].token_ids) for side in pair if side in duel.answers)
    row_bytes = passages_of.row_bytes(infos[0]) if infos[0] else 0
    return len(hosts) * positions * row_bytes, " and ".join(dict.fromkeys(hosts))


def _same_input(duel: Duel, pair: tuple[int, int]) -> bool:
    given = duel.input(pair)
    return given is not None and given.identical


async def _passage(session: Session, answer: Answer) -> Passage:
    """An answer after the prompt that its side was given."""
    rendered = await session.render(answer.messages, answer.prompt)
    if not isinstance(rendered, Rendered):
        raise GenerationError(rendered.message, rendered.hint)
    token_ids = (*rendered.token_ids, *answer.token_ids)
    return Passage(token_ids=token_ids, first=len(rendered.token_ids), chunk=CHUNK, top=TOP)


def _require_same_text(said: Sequence[tuple[TokenScores, TokenScores]], infos: Sequence[ModelInfo]) -> None:
    """GenerationError where a server calls a token otherwise: then equal ids are not equal text."""
    if not any(info.served for info in infos):
        return
    for a, b in said:
        for token_id in a.pieces.keys() & b.pieces.keys():
            one, other = (side.pieces[token_id].strip() for side in (a, b))
            if one and other and one != other and "\ufffd" not in one + other:
                message = f"token {token_id} is {one!r} for one and {other!r} for the other"
                raise GenerationError(f"{message}: equal ids are not equal text")


def _good(result: Found | Failed) -> Found:
    if isinstance(result, Failed):
        raise GenerationError(result.message, result.hint)
    return result


def _reading(side: int, passage: Passage, said: tuple[TokenScores, TokenScores]) -> Reading:
    ids = passage.token_ids[passage.first :]
    views = [_views(one) for one in said]
    tokens = tuple(
        Token(
            index=index,
            token_id=token_id,
            text=said[0].pieces[token_id],
            views=(views[0][index], views[1][index]),
            kld=said[1].klds[index],
        )
        for index, token_id in enumerate(ids)
    )
    mean, stderr = fidelity.estimate(said[1].klds)
    other, tail = said[1], said[1].left_out
    kept = None
    if len(other.margins) == len(other.klds):  # a server may not tell both tokens everywhere
        kept = margins_of(other.reference_margins, other.margins, other.reference_rounding)
    different = tuple(token.index for token in tokens if token.differs)
    return Reading(
        side=side,
        tokens=tokens,
        mean_kld=mean,
        kld_stderr=stderr,
        kld_is_bound=bool(tail),
        kld_tail=math.fsum(tail) / len(tail) if tail else None,
        different_top=different,
        margins=kept,
    )


def _views(said: TokenScores) -> list[View]:
    return [
        View(
            log_prob=log_prob,
            top=tuple(
                Choice(token_id, said.pieces[token_id], math.exp(likely))
                for token_id, likely in zip(ids, log_probs, strict=True)
            ),
            margin=log_probs[0] - log_probs[1],
        )
        for log_prob, ids, log_probs in zip(said.log_probs, said.top_ids, said.top_log_probs, strict=True)
    ]


async def _noise(reference: Session, passage: Passage, once: TokenScores) -> float | None:
    """How far rounding moves the reference's margins over its answer, in nats: 95 % of them move by less.

    None for a server's: how it reads is its own business.
    """
    if reference.info is None or reference.info.served:
        return None
    thirds = -(-len(passage.token_ids) // PORTIONS)
    again = _good(await teacher.alone(reference, replace(passage, chunk=thirds)))
    pairs = list(zip(margins(once, once.top_ids), margins(again, once.top_ids), strict=True))
    moved = sorted(abs(a - b) for a, b in pairs if a is not None and b is not None)
    return fidelity.quantile(moved, NOISE_SHARE) if moved else 0.0


def _verdict(
    readings: tuple[Reading, Reading], reference: TokenScores, noise: float | None
) -> Verdict | None:
    """Why the answers diverge; None where they are equal, or one is only cut off earlier."""
    ids = [[token.token_id for token in reading.tokens] for reading in readings]
    index = first_divergence(*ids)
    if index is None or index >= min(map(len, ids)):
        return None
    a, b = readings[0].tokens[index].views
    letter = LETTERS[readings[1].side]
    if noise is None:
        text = _unjudged_words(a, b, letter)
        return Verdict(kind="not judged", index=index, margin=a.margin, noise=None, text=text)
    least = max(noise, reference.rounding[index])
    kind = judge(a, b, least)
    text = verdict_words(kind, a, b, least, letter)
    return Verdict(kind=kind, index=index, margin=a.margin, noise=least, text=text)


def _unjudged_words(a: View, b: View, letter: str) -> str:
    views = (("A", a), (letter, b))
    said = ", ".join(f"{name} prefers “{view.top[0].text}” by {view.margin:.2g}" for name, view in views)
    return f"{said} nats; how far rounding moves a server's margins is not known: no verdict"


def judge(a: View, b: View, noise: float) -> VerdictKind:
    """Why two models diverge at a position that they reached with the same tokens."""
    if a.margin <= noise + FLOAT32_NOISE:
        return "coin flip"
    return "draw" if a.top[0].token_id == b.top[0].token_id and b.margin > noise else "change of mind"


def verdict_words(kind: VerdictKind, a: View, b: View, noise: float, letter: str) -> str:
    """The verdict in words; what B prefers by no more than the noise is no preference."""
    first, second = (f"“{choice.text}”" for choice in a.top[:2])
    if kind == "coin flip":
        return (
            f"a coin flip: A's first choices, {first} and {second}, are {a.margin:.2g} nats apart, "
            f"and rounding alone moves them by {noise:.2g}"
        )
    if kind == "draw":
        return f"the draw: both prefer {first}, and sampling chose otherwise"
    is_undecided = b.margin <= noise
    change = (
        f"is undecided ({b.margin:.2g})" if is_undecided else f"prefers “{b.top[0].text}” by {b.margin:.2g}"
    )
    kept = f"A prefers {first} by {a.margin:.2g} nats (noise {noise:.2g})"
    return f"a real change of mind: {kept}, {letter} {change}"
