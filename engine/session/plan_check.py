"""Estimate against actual: load a profile in a worker of its own, fill its cache, and compare with the plan.

Owns the order. The actual figures are those that the worker reports everywhere else.
"""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from engine.config.methods import Checkpointed
from engine.config.profile import Profile
from engine.errors import LoadError
from engine.machine.hardware import Hardware
from engine.plan import running
from engine.plan.local import checkpoint_is_there, planned
from engine.plan.planning import Wish
from engine.plan.terms import Plan, total
from engine.protocol.failure import Failed
from engine.protocol.loading import Loaded, Quantized, Staged
from engine.protocol.model import Memory
from engine.protocol.runs import BenchRun, Measured
from engine.session import far_questions
from engine.session.client import Session

OnStage = Callable[[str, Staged], object]


class Figures(Struct, frozen=True, kw_only=True):
    """The three figures that are compared."""

    weights_bytes: int
    kv_cache_bytes: int
    load_peak_bytes: int
    """On a CPU of the resident set, on a GPU of the allocator and the context."""
    quantize_peak_bytes: int | None = None
    """Of making the checkpoint; null where none was made in this run."""


class Checked(Struct, frozen=True, kw_only=True):
    """A profile's estimate, and what a load really took; `failure` says why there was none."""

    profile: str
    context: int
    batch: int
    estimate: Figures
    actual: Figures | None
    failure: str = ""


async def checked(profile: Profile, wish: Wish, machine: Hardware, on_stage: OnStage) -> Checked:
    """Plan, make the checkpoint where there is none, load, fill the cache; LoadError where no plan can be."""
    is_elsewhere = profile.worker.is_elsewhere
    made = not is_elsewhere and not checkpoint_is_there(profile)
    found = await far_questions.planned(profile, wish) if is_elsewhere else planned(profile, wish, machine)
    estimate = Figures(
        weights_bytes=found.weights_bytes,
        kv_cache_bytes=found.kv_cache_bytes,
        load_peak_bytes=found.load_peak_bytes,
        quantize_peak_bytes=found.quantize_peak_bytes or None,
    )
    row = Checked(
        profile=profile.name, context=found.context, batch=found.batch, estimate=estimate, actual=None
    )
    try:
        quantize_peak = (
            await _make(profile, on_stage)
            if made and isinstance(profile.quantization, Checkpointed)
            else None
        )
        actual, source = await _measure(profile, found, wish, on_stage, quantize_peak)
    except LoadError as error:
        return replace(row, failure=str(error))
    return replace(row, estimate=comparable(estimate, found, source), actual=actual)


def comparable(estimate: Figures, found: Plan, source: str) -> Figures:
    """The estimate of what was read: where the driver hides processes, the allocator knows of no context."""
    if source != "allocator":
        return estimate
    context = total(term for term in found.runtime if term.name == running.CUDA_CONTEXT)
    return replace(estimate, load_peak_bytes=estimate.load_peak_bytes - context)


def load_peak_bytes(memory: Memory) -> int:
    """The most that was held while loading. A GPU's peak is the allocator's: what is outside it is added."""
    if memory.reserved_bytes is None:
        return max(memory.peak_bytes, memory.process_bytes)
    outside = max(0, memory.process_bytes - memory.reserved_bytes)
    return outside + max(memory.peak_bytes, memory.reserved_bytes)


async def _make(profile: Profile, on_stage: OnStage) -> int | None:
    """Make the checkpoint in a worker that ends afterwards, so that the load's peak is the load's own."""
    session = Session(profile)
    peak: int | None = None
    try:
        async for event in session.quantize():
            match event:
                case Staged():
                    on_stage(profile.name, event)
                case Quantized(record=record, cached=cached):
                    peak = None if cached else record.peak_bytes
                case Failed(message=message, hint=hint):
                    raise LoadError(message, hint)
    finally:
        await session.close()
    return peak


async def _measure(
    profile: Profile, found: Plan, wish: Wish, on_stage: OnStage, quantize_peak: int | None
) -> tuple[Figures, str]:
    """The figures, and where the process's memory was read."""
    session = Session(profile, memory_limit_bytes=wish.limit_bytes)
    try:
        loaded = await _loaded(session, on_stage)
        steps = 2  # one token is chosen from the prompt, and read as the cache's last
        run = BenchRun(context=max(1, found.context - 1), batch=found.batch, steps=steps)
        filled = await session.measure(run)
        if not isinstance(filled, Measured):
            raise LoadError(filled.message, filled.hint)
    finally:
        await session.close()
    if loaded.info.weights is None or loaded.memory is None:
        raise LoadError(f"{profile.model.source} does not say how much memory it takes")
    return Figures(
        weights_bytes=loaded.info.weights.total_bytes,
        kv_cache_bytes=filled.kv_cache_bytes,
        load_peak_bytes=load_peak_bytes(loaded.memory),
        quantize_peak_bytes=quantize_peak,
    ), loaded.memory.process_source


async def _loaded(session: Session, on_stage: OnStage) -> Loaded:
    async for event in session.load():
        match event:
            case Staged():
                on_stage(session.profile.name, event)
            case Loaded():
                return event
            case Failed(message=message, hint=hint):
                raise LoadError(message, hint)
    raise AssertionError("a load ends with its last event")
