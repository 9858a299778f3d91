"""plan(profile, shape, machine, …) → Plan: a pure function over the terms of its neighbours.

Owns how they add up, the rule of thumb next to them, and the verdict. Reads no file and asks no device.
"""

import dataclasses
from dataclasses import dataclass

from msgspec.structs import replace

from engine.config import runtime
from engine.config.environments import SHIPPED
from engine.config.methods import LlamaCpp, Method, original
from engine.config.profile import Profile
from engine.machine.hardware import Hardware
from engine.plan import device_memory, graphs, llama_cpp, peaks, running, step
from engine.plan import weights as holding
from engine.plan.target import Target
from engine.plan.terms import DeviceMemory, Plan, RuleOfThumb, Term, Verdict, total
from engine.shape.model_shape import ModelShape
from engine.units import bytes_text

USUAL_CONTEXT = 2048
TIGHT_FROM = 0.9  # of what is free


@dataclass(frozen=True, slots=True)
class Wish:
    """What is planned for, besides the profile."""

    context: int | None = None
    """Tokens in the cache; None is 2048, or the model's window where that is shorter."""
    batch: int = 1
    limit_bytes: int | None = None
    """What the user allows a worker to take of the host."""
    checkpoint_is_there: bool = False
    """Whether the method's checkpoint is in the store, so that loading need not make it."""
    torch_has_cuda: bool = False
    """Whether torch is a build for CUDA, which takes more of the host's memory, with a GPU or without."""


@dataclass(frozen=True, slots=True)
class _Ledger:
    """All terms of a plan, and for where they hold."""

    target: Target
    weights: tuple[Term, ...]
    kv_cache: tuple[Term, ...]
    activations: tuple[Term, ...]
    runtime: tuple[Term, ...]
    loading: tuple[Term, ...]
    quantizing: tuple[Term, ...]

    @property
    def answering(self) -> tuple[Term, ...]:
        """What is held while the model answers."""
        return (*self.weights, *self.kv_cache, *self.activations, *self.runtime)


def plan(profile: Profile, shape: ModelShape, machine: Hardware, wish: Wish | None = None) -> Plan:
    """Every term in bytes; LoadError where the machine has no such device, or the model no such cache."""
    wish, found = wish or Wish(), shape.architecture
    is_llama_cpp = isinstance(profile.quantization, LlamaCpp)
    if not is_llama_cpp:  # which holds keys and values in 8 bits next to windows and states
        keeps_all = len(found.windows) == found.layers and not any(found.windows)
        runtime.require_cache(profile.cache.dtype, profile.model.source, keeps_all=keeps_all)
    wanted = "cpu" if is_llama_cpp else profile.model.device
    is_own = profile.needs_torch and profile.runs_in.is_own
    device = device_memory.device(wanted, machine, by_own_torch=is_own)
    target = _target(profile, shape, machine, device)
    target = dataclasses.replace(target, torch_has_cuda=wish.torch_has_cuda)
    ledger = _ledger(profile, shape, target, wish)
    memory = device_memory.memory(device, machine, wish.limit_bytes)
    return replace(
        _summed(profile, shape, wish, ledger, memory), notes=_notes(shape, ledger, target, machine)
    )


def _target(profile: Profile, shape: ModelShape, machine: Hardware, device: str) -> Target:
    dtype, method = _dtype(profile, shape, machine, device), profile.quantization
    found = Target(device, dtype, machine.host.flags, cache=profile.cache.dtype)
    if original(method):
        return dataclasses.replace(found, held="other", is_original=True)
    found = dataclasses.replace(found, held=step.held(shape, method, found))
    if profile.runs_in.environment in SHIPPED:  # with transformers 4, which none of our steps are made for
        return found
    anew = step.is_held_anew(shape, method, found)
    return dataclasses.replace(found, step=step.kind(shape, method, found), held_anew=anew)


def _ledger(profile: Profile, shape: ModelShape, target: Target, wish: Wish) -> _Ledger:
    method, context = profile.quantization, _context(shape, wish.context)
    if isinstance(method, LlamaCpp):
        return _of_llama_cpp(shape, target, method, wish)
    package = peaks.package(method, shape)
    weights = holding.terms(shape, method, target)
    libraries = running.libraries(shape, package, target)
    made = wish.checkpoint_is_there
    file = peaks.file_read(method, checkpoint_is_there=made)
    kv_cache = running.kv_cache(shape.architecture, context, wish.batch, target)
    rehearsal = graphs.loading(shape, profile.generation.max_new_tokens, target)
    return _Ledger(
        target=target,
        weights=weights,
        kv_cache=kv_cache,
        activations=(
            *running.activations(shape, context, wish.batch, target),
            *running.dequantized(shape.architecture, target),
            *_dequantized(shape, method, target),
            *running.restored(shape.architecture, context, wish.batch, target),
            *graphs.answering(shape, kv_cache, context, wish.batch, target),
        ),
        runtime=libraries,
        loading=max(
            peaks.loading(shape, file, target, weights, libraries),
            peaks.rehearsing(weights, libraries, rehearsal),
            key=total,
        ),
        quantizing=() if made else _quantizing(profile, shape, target, weights, package),
    )


def _dequantized(shape: ModelShape, method: Method, target: Target) -> tuple[Term, ...]:
    """What a long prompt is multiplied with where a GPU holds weights in 4 bits: a matrix at a time."""
    packed = holding.packed_matrices(shape, method) if target.held_anew else []
    if not packed:
        return ()
    largest = max(packed, key=lambda matrix: matrix.elements)
    size = largest.elements * target.element_bytes
    origin = f"{largest.rows} × {largest.columns} in {target.dtype}, the largest of a layer"
    return (Term("dequantized weights", size, origin),)


def _of_llama_cpp(shape: ModelShape, target: Target, method: LlamaCpp, wish: Wish) -> _Ledger:
    tokens = wish.context or method.cache_tokens(shape.architecture.context_length)
    weights, libraries = llama_cpp.weights(shape), llama_cpp.libraries()
    kv_cache = llama_cpp.cache(shape, tokens, target.cache)
    return _Ledger(
        target=target,
        weights=weights,
        kv_cache=kv_cache,
        activations=(),
        runtime=libraries,
        loading=(*weights, *kv_cache, *libraries),
        quantizing=(),
    )


def _summed(profile: Profile, shape: ModelShape, wish: Wish, ledger: _Ledger, memory: DeviceMemory) -> Plan:
    target = ledger.target
    needed_for, needed_bytes = _most_needed(ledger, memory)
    return Plan(
        profile=profile.name,
        label=profile.label,
        origin=shape.origin,
        device=target.device,
        dtype=target.dtype,
        step=target.step,
        parameters=holding.parameters(shape),
        active_parameters=holding.active_parameters(shape),
        context=_context(shape, wish.context, profile.quantization),
        batch=wish.batch,
        weights=ledger.weights,
        kv_cache=ledger.kv_cache,
        activations=ledger.activations,
        runtime=ledger.runtime,
        loading=ledger.loading,
        quantizing=ledger.quantizing,
        weights_bytes=total(ledger.weights),
        kv_cache_bytes=total(ledger.kv_cache),
        running_bytes=total(ledger.answering),
        load_peak_bytes=total(ledger.loading),
        quantize_peak_bytes=total(ledger.quantizing),
        needed_bytes=needed_bytes,
        needed_for=needed_for,
        memory=memory,
        verdict=_verdict(needed_bytes, memory),
        rule_of_thumb=_rule(profile, shape, ledger.weights, target),
    )


def _quantizing(
    profile: Profile, shape: ModelShape, target: Target, weights: tuple[Term, ...], package: str
) -> tuple[Term, ...]:
    """A checkpoint is made in the host's memory, whatever device the model is for."""
    host = Target("cpu", target.dtype, target.flags, torch_has_cuda=target.torch_has_cuda)
    libraries = running.libraries(shape, package, host)
    return peaks.quantizing(shape, profile.quantization, host, weights, libraries)


def _most_needed(ledger: _Ledger, memory: DeviceMemory) -> tuple[str, int]:
    """The phase that needs most. Pages that the kernel can drop count only against a limit of the user's."""
    phases = {
        "loading": ledger.loading,
        "quantizing": ledger.quantizing if ledger.target.on_cpu else (),
        "answering": ledger.answering,
    }
    strict = memory.limited_by == "--memory-limit"
    needs = {name: total(terms, without_droppable=not strict) for name, terms in phases.items()}
    name = max(needs, key=lambda phase: needs[phase])
    return name, needs[name]


def _verdict(needed_bytes: int, memory: DeviceMemory) -> Verdict:
    if needed_bytes > memory.free_bytes:
        return "does not fit"
    return "tight" if needed_bytes > TIGHT_FROM * memory.free_bytes else "fits"


def _dtype(profile: Profile, shape: ModelShape, machine: Hardware, device: str) -> str:
    """The profile's dtype; `auto` is the checkpoint's, or fp16 on a GPU that lacks bf16."""
    if profile.model.dtype != "auto":
        return profile.model.dtype
    index = int(device.partition(":")[2] or 0)
    has_bfloat16 = device == "cpu" or machine.gpus[index].has_bf16
    return runtime.own_dtype(shape.dtype, has_bfloat16=has_bfloat16)


def _context(shape: ModelShape, asked: int | None, method: Method | None = None) -> int:
    window = shape.architecture.context_length or USUAL_CONTEXT
    if isinstance(method, LlamaCpp):
        return asked or method.cache_tokens(shape.architecture.context_length)
    return asked or min(USUAL_CONTEXT, window)


def _rule(profile: Profile, shape: ModelShape, weights: tuple[Term, ...], target: Target) -> RuleOfThumb:
    """Parameters × bytes a weight, as it is often quoted, and what it leaves out."""
    parameters = holding.parameters(shape)
    packing = shape.packing.layout if shape.packing else None
    bits = packing.bits if packing else holding.nominal_bits(profile.quantization, 8 * target.element_bytes)
    size = parameters * bits // 8
    parts = {term.name: term.bytes for term in weights}
    extra = {
        "scales": sum(found for name, found in parts.items() if name in holding.SCALES),
        f"embedding and head in {target.dtype}": sum(
            parts.get(name, 0) * (1 - bits / (8 * target.element_bytes))
            for name in ("embedding", "output head")
        ),
    }
    more = [f"{bytes_text(int(found))} of {name}" for name, found in extra.items() if found >= 0.005 * size]
    gap = total(weights) - size
    why = " and ".join(more) or "nothing that counts"
    return RuleOfThumb(
        bytes=size,
        text=f"{parameters / 1e9:.3g} B parameters × {bits} bits = {bytes_text(size)}",
        difference=f"the weights take {bytes_text(abs(gap))} {'more' if gap >= 0 else 'less'}: {why}; "
        "cache, activations and libraries are not in the rule at all",
    )


def _notes(shape: ModelShape, ledger: _Ledger, target: Target, machine: Hardware) -> tuple[str, ...]:
    quantizing = ledger.quantizing
    found: list[str] = []
    if quantizing:
        found.append("not quantized yet: the first load quantizes, and its peak counts")
    if (
        quantizing
        and not target.on_cpu
        and total(quantizing, without_droppable=True) > machine.host.available_bytes
    ):
        found.append("quantizing does not fit in the host's memory")
    if shape.architecture.experts:
        found.append("a mixture of experts: all experts are held, few are used for a token")
    if "alone" in shape.origin or "shape" in shape.origin:
        found.append(f"from {shape.origin}")
    return tuple(found)
