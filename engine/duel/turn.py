"""The record of a turn: what was asked, what each side answered, and how fast and in how much memory.

Pure: made from sessions and answers, written as JSON. `duel --json` prints it; its keys are documented in
docs/measuring.md and stay.
"""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from engine.config.profile import Generation
from engine.duel.duel import Answer, Duel, Input, first_divergence
from engine.duel.lens import Lens, NoLens
from engine.duel.swap import MemoryReturn
from engine.protocol import (
    Decode,
    Failed,
    FailureKind,
    FinishReason,
    Memory,
    ModelInfo,
    StepKind,
)
from engine.session.client import Session
from engine.session.schedule import Schedule
from engine.stats.bottleneck import Reached
from engine.stats.metrics import Metrics


class MemoryRecord(Struct, frozen=True, kw_only=True):
    """Bytes in use at the end of an answer."""

    weights_bytes: int
    linear_weights_bytes: int
    embedding_weights_bytes: int
    other_weights_bytes: int
    kv_cache_bytes: int
    peak_bytes: int
    process_bytes: int
    process_source: str
    device_used_bytes: int
    device_total_bytes: int
    activations_bytes: int | None = None
    reserved_bytes: int | None = None


class ErrorRecord(Struct, frozen=True, kw_only=True):
    """Why a side has no answer."""

    kind: FailureKind
    message: str
    hint: str


class Side(Struct, frozen=True, kw_only=True):
    """One side's answer. What was not reached is null or empty; `error` says why."""

    profile: str
    label: str
    text: str = ""
    token_ids: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    metrics: Metrics | None = None
    memory: MemoryRecord | None = None
    load_s: float | None = None
    device: str | None = None
    device_name: str | None = None
    dtype: str | None = None
    kernel: str | None = None
    step: StepKind | None = None
    decode: Decode | None = None
    bandwidth: Reached | None = None
    """What the decoding reached of the device's copy speed, and what bounds it."""
    threads: int | None = None
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    rendered_prompt: str | None = None
    error: ErrorRecord | None = None


class Turn(Struct, frozen=True, kw_only=True):
    """One prompt and the answers to it."""

    prompt: str
    input: Input | None
    first_divergence: int | None
    """The index of the first token that differs; null where none does, or where not both sides answered."""
    schedule: Schedule
    generation: Generation
    sides: tuple[Side, ...]
    memory_returns: tuple[MemoryReturn, ...] = ()
    """With `--schedule swap`: for each worker that ended, what its device had free before and after."""
    lens: Lens | NoLens | None = None
    """Where it was asked for."""


def record(duel: Duel, prompt: str, generation: Generation, sides: Sequence[Side]) -> Turn:
    """The record of the duel's last turn."""
    complete = [answer for answer in duel.answers.values() if answer.failure is None]
    parted = None
    if len(complete) == len(duel.sessions) > 1:
        parted = first_divergence(duel.answers[0].token_ids, duel.answers[1].token_ids)
    return Turn(
        prompt=prompt,
        input=duel.input(),
        first_divergence=parted,
        schedule=duel.schedule,
        generation=generation,
        sides=tuple(sides),
        memory_returns=tuple(duel.swap.returns),
    )


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
    error = ErrorRecord(kind=failed.kind, message=failed.message, hint=failed.hint) if failed else None
    empty = Side(
        profile=session.profile.name,
        label=session.profile.label,
        load_s=load_s,
        rendered_prompt=rendered_prompt,
        error=error,
    )
    info = answer.info if answer and answer.info else session.info
    return _answered(_loaded(empty, info), info, answer)


def memory(info: ModelInfo, in_use: Memory) -> MemoryRecord:
    """What is in use, with the weights told apart."""
    return MemoryRecord(
        weights_bytes=in_use.weights_bytes,
        linear_weights_bytes=info.weights.linear_bytes,
        embedding_weights_bytes=info.weights.embedding_bytes,
        other_weights_bytes=info.weights.other_bytes,
        kv_cache_bytes=in_use.kv_cache_bytes,
        peak_bytes=in_use.peak_bytes,
        process_bytes=in_use.process_bytes,
        process_source=in_use.process_source,
        device_used_bytes=in_use.device_used_bytes,
        device_total_bytes=in_use.device_total_bytes,
        activations_bytes=in_use.activations_bytes,
        reserved_bytes=in_use.reserved_bytes,
    )


def _loaded(record: Side, info: ModelInfo | None) -> Side:
    if info is None:
        return record
    return replace(
        record,
        label=info.label,
        device=info.device,
        device_name=info.device_name,
        dtype=info.dtype,
        kernel=info.kernel,
        step=info.step,
        threads=info.threads,
        notes=info.notes,
        versions=info.versions,
    )


def _answered(record: Side, info: ModelInfo | None, answer: Answer | None) -> Side:
    if info is None or answer is None:
        return record
    return replace(
        record,
        text=answer.text,
        token_ids=tuple(answer.token_ids),
        finish_reason=answer.finish_reason,
        decode=answer.decode,
        metrics=answer.metrics,
        bandwidth=answer.reached(info),
        memory=memory(info, answer.memory) if answer.memory else None,
        notes=(*record.notes, *answer.notes),
    )
