"""The record of a turn: what was asked, what each side answered, and how fast and in how much memory.

Pure: made from sessions and answers, written as JSON. `duel --json` prints it; its keys are documented in
docs/measuring.md and stay.
"""

from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from engine.config.profile import Generation
from engine.duel.answer import Answer
from engine.duel.comparison import Comparison, comparisons
from engine.duel.divergence import divergence
from engine.duel.duel import Duel, Input
from engine.duel.lens import Lens, NoLens
from engine.duel.swap import MemoryReturn
from engine.protocol.answers import Decode, FinishReason
from engine.protocol.failure import Failed, Failure
from engine.protocol.model import Memory, ModelInfo
from engine.session.client import Session
from engine.session.schedule import Schedule
from engine.stats.bottleneck import Reached
from engine.stats.metrics import Metrics


class Side(Struct, frozen=True, kw_only=True):
    """One side's answer. What was not reached is null or empty; `error` says why."""

    profile: str
    label: str
    model: ModelInfo | None = None
    """What was loaded, as it really is."""
    load_s: float | None = None
    text: str = ""
    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    metrics: Metrics | None = None
    memory: Memory | None = None
    """In use at the end of the answer."""
    decode: Decode | None = None
    bandwidth: Reached | None = None
    """What the decoding reached of the device's copy speed, and what bounds it."""
    notes: tuple[str, ...] = ()
    """The model's and the answer's."""
    rendered_prompt: str | None = None
    error: Failure | None = None


class Turn(Struct, frozen=True, kw_only=True):
    """One prompt and the answers to it."""

    prompt: str
    input: Input | None
    first_divergence: int | None
    """The index of the first token that differs from A's; null where none does, or not both answered."""
    schedule: Schedule
    generation: Generation
    sides: tuple[Side, ...]
    memory_returns: tuple[MemoryReturn, ...] = ()
    """With `--schedule swap`: for each worker that ended, what its device had free before and after."""
    lens: Lens | NoLens | None = None
    """Where it was asked for."""
    comparisons: tuple[Comparison, ...] | UnsetType = UNSET
    """With more than two sides: each other one against A."""


def record(duel: Duel, prompt: str, generation: Generation, sides: Sequence[Side]) -> Turn:
    """The record of the duel's last turn."""
    return Turn(
        prompt=prompt,
        input=duel.input(),
        first_divergence=_first_divergence(duel),
        schedule=duel.schedule,
        generation=generation,
        sides=tuple(sides),
        memory_returns=tuple(duel.swap.returns),
        comparisons=comparisons(duel) if len(duel.sessions) > 2 else UNSET,
    )


def _first_divergence(duel: Duel) -> int | None:
    """Where the first of the complete answers leaves A's."""
    complete = {side: answer.tokens for side, answer in duel.answers.items() if answer.failure is None}
    reference = complete.pop(0, None)
    places = [divergence(reference, tokens) for tokens in complete.values()] if reference else []
    return min((place.token for place in places if place and place.by_token), default=None)


def side(
    session: Session,
    answer: Answer | None,
    *,
    load_s: float | None = None,
    failure: Failed | None = None,
    rendered_prompt: str | None = None,
) -> Side:
    """The record of one side; `failure` is why it did not load."""
    failed = answer.failure if answer and answer.failure else failure
    info = answer.info if answer and answer.info else session.info
    empty = Side(
        profile=session.profile.name,
        label=info.label if info else session.profile.label,
        model=info,
        load_s=load_s,
        notes=info.notes if info else (),
        rendered_prompt=rendered_prompt,
        error=failed.failure if failed else None,
    )
    return _answered(empty, info, answer) if info and answer else empty


def _answered(record: Side, info: ModelInfo, answer: Answer) -> Side:
    return replace(
        record,
        text=answer.text,
        token_ids=tuple(answer.token_ids),
        finish_reason=answer.finish_reason,
        metrics=answer.metrics,
        memory=answer.memory,
        decode=answer.decode,
        bandwidth=answer.reached(info),
        notes=(*record.notes, *answer.notes),
    )
