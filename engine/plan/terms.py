"""The pieces of a plan: named bytes with their origin, what they add up to, and the verdict. Plain data."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from engine.config.runtime import StepKind

Verdict = Literal["fits", "tight", "does not fit"]


class Term(Struct, frozen=True):
    """Some bytes with a name, and where the figure comes from."""

    name: str
    bytes: int
    origin: str
    droppable: bool = False
    """Pages of a file, which the kernel takes back when memory is wanted: resident, but not needed."""


class DeviceMemory(Struct, frozen=True, kw_only=True):
    """The memory of the device that a profile wants."""

    device: str
    name: str
    free_bytes: int
    total_bytes: int
    limited_by: str = ""
    """`container` or `--memory-limit`, where that is less than the machine has."""


class RuleOfThumb(Struct, frozen=True, kw_only=True):
    """Parameters times bytes, and why the ledger says something else."""

    bytes: int
    text: str
    difference: str


class Suggestion(Struct, frozen=True, kw_only=True):
    """Something that would fit: a named profile, or a shorter context."""

    what: str
    needs_bytes: int
    command: str


class Plan(Struct, frozen=True, kw_only=True):
    """What a profile will hold on its device, at a context length and a batch size."""

    profile: str
    label: str
    origin: str
    """Where the shapes come from."""
    device: str
    dtype: str
    step: StepKind
    """What will decode."""
    parameters: int
    active_parameters: int
    """Of a mixture of experts those that one token uses; else all."""
    context: int
    batch: int
    weights: tuple[Term, ...]
    kv_cache: tuple[Term, ...]
    activations: tuple[Term, ...]
    runtime: tuple[Term, ...]
    loading: tuple[Term, ...]
    """What is held at the peak while loading."""
    quantizing: tuple[Term, ...]
    """The same while a checkpoint is made; empty where none has to be made."""
    weights_bytes: int
    kv_cache_bytes: int
    running_bytes: int
    """Weights, cache, activations and runtime together."""
    load_peak_bytes: int
    quantize_peak_bytes: int
    needed_bytes: int
    """The largest of these, without what the kernel can take back."""
    needed_for: str
    memory: DeviceMemory
    verdict: Verdict
    rule_of_thumb: RuleOfThumb
    missing_package: str = ""
    """The package without which it cannot be loaded here, in words; empty where nothing is missing."""
    notes: tuple[str, ...] = ()
    would_fit: tuple[Suggestion, ...] = ()


def total(terms: Iterable[Term], *, without_droppable: bool = False) -> int:
    """The terms' sum in bytes."""
    return sum(term.bytes for term in terms if not (without_droppable and term.droppable))
